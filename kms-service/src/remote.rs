//! Remote signing: bounded tasks on the node's runtime, so that a backend that doesn't answer costs
//! its own callers only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

use crate::KmsError;
use crate::job::Ticket;
use crate::lifecycle::guarded;
use crate::message::Reply;

/// How many requests may be under way at one remote backend.
const CONCURRENCY: usize = 64;

/// How many may ask at once how the backends are.
const ASKING: usize = 16;

/// When to try again where that many are under way.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The remote backends of a service, each with its own bound.
pub(crate) struct RemoteTasks {
    free: BTreeMap<String, Arc<Semaphore>>,
    asking: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    runtime: Handle,
}

impl RemoteTasks {
    pub(crate) fn new<'a>(backends: impl Iterator<Item = &'a String>, runtime: &Handle) -> Self {
        let free = backends.map(|name| (name.clone(), Arc::new(Semaphore::new(CONCURRENCY))));
        Self {
            free: free.collect(),
            asking: Arc::new(Semaphore::new(ASKING)),
            stop: watch::Sender::new(false),
            runtime: runtime.clone(),
        }
    }

    /// Does `work` at the backend called `backend` and answers, for as long as anybody waits for it.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        backend: &str,
        ticket: Ticket<T>,
        work: impl Future<Output = Result<T, KmsError>> + Send + 'static,
    ) {
        if let Some(void) = ticket.is_void() {
            return ticket.answer(Err(void));
        }
        let Some(free) = self.free.get(backend) else {
            return ticket.answer(Err(KmsError::Internal));
        };
        let Ok(permit) = Arc::clone(free).try_acquire_owned() else {
            ticket.counters.overloaded.increment();
            return ticket.answer(Err(KmsError::Overloaded { retry_after: RETRY_AFTER }));
        };
        let mut stopped = self.stop.subscribe();
        let span = ticket.span.clone();
        let task = async move {
            let mut ticket = ticket;
            let (deadline, counters) = (ticket.deadline, Arc::clone(&ticket.counters));
            let answer = tokio::select! {
                // What the work makes of its deadline itself counts before the deadline.
                biased;
                answer = guarded(&counters, work) => answer.and_then(|answer| answer),
                _ = stopped.wait_for(|stopped| *stopped) => Err(KmsError::Stopped),
                () = ticket.reply.closed() => {
                    counters.abandoned.increment();
                    Err(KmsError::AnswerLost)
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    counters.expired.increment();
                    Err(KmsError::DeadlineExceeded)
                }
            };
            drop(permit);
            ticket.answer(answer);
        };
        self.runtime.spawn(task.instrument(span));
    }

    /// Does `work` and answers, for as long as anybody waits for it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        mut reply: Reply<T>,
        work: impl Future<Output = T> + Send + 'static,
    ) {
        let Ok(permit) = Arc::clone(&self.asking).try_acquire_owned() else {
            return drop(reply.send(Err(KmsError::Overloaded { retry_after: RETRY_AFTER })));
        };
        let mut stopped = self.stop.subscribe();
        self.runtime.spawn(async move {
            let answer = tokio::select! {
                answer = work => Ok(answer),
                _ = stopped.wait_for(|stopped| *stopped) => Err(KmsError::Stopped),
                () = tokio::time::sleep_until(deadline.into()) => Err(KmsError::DeadlineExceeded),
                () = reply.closed() => return,
            };
            drop(permit);
            drop(reply.send(answer));
        });
    }

    /// Has every task answer [`KmsError::Stopped`] and give up its work.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until every task has let go of what it worked with.
    pub(crate) async fn ended(&self) {
        // Each task holds a receiver to its end.
        self.stop.closed().await;
    }
}
