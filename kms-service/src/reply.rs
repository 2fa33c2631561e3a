//! The way back to the caller. Whatever becomes of a request is told here, so here it is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::KmsError;
use crate::metrics::{ABANDONED, DEADLINE_EXCEEDED, Meter, outcome};
use crate::sync::oneshot::{self, Receiver, Sender};

/// Where the answer goes. When it is dropped without one, the caller gets
/// [`KmsError::AnswerLost`].
pub(crate) struct Reply<T> {
    /// Taken by the answer.
    sender: Option<Sender<Result<T, KmsError>>>,
    sent: Instant,
    /// `None` until the service has come to the request.
    meter: Option<Arc<Meter>>,
}

impl<T> Reply<T> {
    /// A reply, and where the caller waits for it.
    pub(crate) fn channel() -> (Self, Receiver<Result<T, KmsError>>) {
        let (sender, answer) = oneshot::channel();
        (Self { sender: Some(sender), sent: Instant::now(), meter: None }, answer)
    }

    /// When the request was sent.
    pub(crate) fn sent(&self) -> Instant {
        self.sent
    }

    /// Has the request counted by `meter`.
    pub(crate) fn observe(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// When the work was begun, told once.
    pub(crate) fn begun(&self, begun: Instant) {
        if let Some(meter) = &self.meter {
            meter.queued(begun.saturating_duration_since(self.sent));
        }
    }

    /// The work has ended. It took so long, and for so long of it secrets were opened.
    pub(crate) fn done(&self, time: Duration, opening: Duration) {
        if let Some(meter) = &self.meter {
            meter.signed(time, opening);
        }
    }

    /// Answers. A caller that has gone since doesn't want to know.
    pub(crate) fn send(mut self, answer: Result<T, KmsError>) {
        self.count(outcome(&answer));
        if let Some(sender) = self.sender.take() {
            drop(sender.send(answer));
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.as_ref().is_none_or(Sender::is_closed)
    }

    /// Waits until nobody waits for the answer any more. Cancel-safe.
    pub(crate) async fn closed(&mut self) {
        if let Some(sender) = &mut self.sender {
            sender.closed().await;
        }
    }

    /// Counted before the caller learns of it, so that it never sees less than has happened.
    fn count(&self, outcome: &'static str) {
        if let Some(meter) = &self.meter {
            // Whoever has a deadline goes when it has passed.
            let gone = self.is_closed() && outcome != DEADLINE_EXCEEDED;
            meter.answered(if gone { ABANDONED } else { outcome });
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if self.sender.is_some() {
            self.count(outcome::<T>(&Err(KmsError::AnswerLost)));
        }
    }
}
