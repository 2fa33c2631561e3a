//! Remote signing: bounded tasks on the node's runtime, so that a backend that doesn't answer costs
//! its own callers only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{BackendError, Failure, deadline};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

use crate::KmsError;
use crate::breaker::{Breaker, BreakerState};
use crate::job::Ticket;
use crate::lifecycle::guarded;
use crate::metrics;
use crate::reply::Reply;

/// How many requests may be under way at one remote backend.
const CONCURRENCY: usize = 64;

/// How many may ask at once how the backends are.
const ASKING: usize = 16;

/// When to try again where that many are under way.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A request that got no answer in this time counts against its backend.
const SLOW: Duration = Duration::from_secs(1);

/// The remote backends of a service, each with its own bound.
pub(crate) struct RemoteTasks {
    places: BTreeMap<String, Arc<Place>>,
    asking: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    runtime: Handle,
}

/// A remote backend: how many may ask it at once, and whether it is worth asking.
struct Place {
    free: Arc<Semaphore>,
    breaker: Breaker,
}

impl RemoteTasks {
    pub(crate) fn new<'a>(backends: impl Iterator<Item = &'a String>, runtime: &Handle) -> Self {
        let places = backends.map(|name| {
            let free = Arc::new(Semaphore::new(CONCURRENCY));
            (name.clone(), Arc::new(Place { free, breaker: Breaker::new(metrics::breaker(name)) }))
        });
        Self {
            places: places.collect(),
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
        if let Some(void) = ticket.is_void(Instant::now()) {
            return ticket.answer(Err(void));
        }
        let Some(place) = self.places.get(backend).map(Arc::clone) else {
            return ticket.answer(Err(KmsError::Internal));
        };
        let Ok(permit) = Arc::clone(&place.free).try_acquire_owned() else {
            return ticket.refuse(KmsError::Overloaded { retry_after: RETRY_AFTER });
        };
        if let Err(pause) = place.breaker.admit(Instant::now()) {
            return ticket.answer(Err(KmsError::Backend(BackendError::Unavailable(Failure::new(
                format!("backend {backend} has failed again and again; it is asked in {pause:?}"),
            )))));
        }
        let mut stopped = self.stop.subscribe();
        let span = ticket.span.clone();
        let task = async move {
            let mut ticket = ticket;
            let (until, counters) = (ticket.deadline, Arc::clone(&ticket.counters));
            let begun = Instant::now();
            ticket.reply.begun(begun);
            let answer = tokio::select! {
                // What the work makes of its deadline itself counts before the deadline.
                biased;
                answer = guarded(&counters, deadline::within(until, work)) => answer.and_then(|answer| answer),
                _ = stopped.wait_for(|stopped| *stopped) => Err(KmsError::Stopped),
                () = ticket.reply.closed() => {
                    counters.abandoned.increment();
                    Err(KmsError::AnswerLost)
                }
                () = tokio::time::sleep_until(until.into()) => {
                    counters.expired.increment();
                    Err(KmsError::DeadlineExceeded)
                }
            };
            drop(permit);
            ticket.reply.done(begun, Duration::ZERO);
            let now = Instant::now();
            match &answer {
                // A panic is no answer of whoever is asked either.
                Err(KmsError::AnswerLost | KmsError::Stopped | KmsError::Internal) => {
                    place.breaker.given_up(now);
                }
                // A caller in a hurry says nothing about the backend.
                Err(KmsError::DeadlineExceeded) if now - begun < SLOW => {
                    place.breaker.given_up(now);
                }
                outcome => place.breaker.ended(is_failure(outcome.as_ref().err()), now),
            }
            ticket.answer(answer);
        };
        self.runtime.spawn(task.instrument(span));
    }

    /// Whether the backend called `backend` is worth asking.
    pub(crate) fn breaker(&self, backend: &str) -> BreakerState {
        self.places.get(backend).map_or(BreakerState::Closed, |place| place.breaker.look())
    }

    /// Does `work` and answers, for as long as anybody waits for it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        mut reply: Reply<T>,
        work: impl Future<Output = T> + Send + 'static,
    ) {
        let Ok(permit) = Arc::clone(&self.asking).try_acquire_owned() else {
            return reply.send(Err(KmsError::Overloaded { retry_after: RETRY_AFTER }));
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
            reply.send(answer);
        });
    }

    /// Does `work` now and again every `interval`, until all is stopped.
    pub(crate) fn again<F>(&self, interval: Duration, mut work: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let mut stopped = self.stop.subscribe();
        self.runtime.spawn(async move {
            loop {
                let turn = async {
                    work().await;
                    tokio::time::sleep(interval).await;
                };
                tokio::select! {
                    () = turn => {}
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                }
            }
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

/// Whether an error says that the backend as such doesn't work, and not that it refuses this request.
fn is_failure(error: Option<&KmsError>) -> bool {
    matches!(
        error,
        Some(
            KmsError::DeadlineExceeded
                | KmsError::Backend(BackendError::Unavailable(_) | BackendError::Throttled { .. })
        )
    )
}
