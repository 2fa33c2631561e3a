//! The task that hands the states of a service to its operator.

use std::{future::poll_fn, panic::AssertUnwindSafe, pin::pin, task::Poll};

use futures::FutureExt;
use tokio::{select, sync::watch};
use tracing::{error, warn};

use super::{StateOperator, StateWatcher, node_wait::Waits};
use crate::services::failure::panic_text;

/// Why the task is to end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is not.
    No,
    /// The service has ended; nobody waits.
    Ended,
    /// Somebody, most likely the node, waits for the service to stop.
    Awaited,
}

/// Hands the states of one run of a service to the operator.
pub struct StateHandle<State, Operator> {
    service: String,
    watcher: StateWatcher<Option<State>>,
    operator: Operator,
    ending: watch::Receiver<Ending>,
}

impl<State, Operator> StateHandle<State, Operator> {
    pub(crate) const fn new(
        service: String,
        watcher: StateWatcher<Option<State>>,
        operator: Operator,
        ending: watch::Receiver<Ending>,
    ) -> Self {
        Self { service, watcher, operator, ending }
    }

    /// Works until told to end, then hands the last state over.
    pub(crate) async fn run<RuntimeServiceId>(mut self)
    where
        State: Clone,
        Operator: StateOperator<RuntimeServiceId, State = State> + Clone,
    {
        // What a panic may have broken is replaced.
        let pristine = self.operator.clone();
        loop {
            let ending = select! {
                biased;
                ended = self.ending.wait_for(|ending| *ending != Ending::No) => {
                    // An error says that the supervisor is gone, and so the node.
                    let _ = ended;
                    true
                }
                changed = self.watcher.changed() => !changed,
            };
            if let Some(Some(state)) = self.watcher.unseen()
                && !self.hand_over(state).await
            {
                self.operator = pristine.clone();
            }
            if ending {
                return;
            }
        }
    }

    /// `false` when the operator panicked.
    async fn hand_over<RuntimeServiceId>(&mut self, state: State) -> bool
    where
        Operator: StateOperator<RuntimeServiceId, State = State>,
    {
        let waits = Waits::default();
        let keep = AssertUnwindSafe(self.operator.run(state)).catch_unwind();
        let mut keep = pin!(waits.count(keep));
        let mut kept = select! {
            biased;
            kept = &mut keep => Some(kept),
            _ = self.ending.wait_for(|ending| *ending == Ending::Awaited) => None,
        };
        if kept.is_none() {
            // From here on the operator must not wait for the node, which waits for it. Its waits
            // only change while it is polled, so this is the place to look.
            kept = poll_fn(|cx| match keep.as_mut().poll(cx) {
                Poll::Ready(kept) => Poll::Ready(Some(kept)),
                Poll::Pending if waits.any() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await;
        }
        match kept {
            Some(Ok(())) => true,
            Some(Err(panic)) => {
                error!(
                    service = %self.service,
                    "the state's operator panicked: {}",
                    panic_text(&*panic)
                );
                false
            }
            None => {
                warn!(
                    service = %self.service,
                    "the state's operator waited for the node, which waits for the service to \
                     stop; it was dropped there"
                );
                true
            }
        }
    }
}
