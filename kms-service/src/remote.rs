//! Remote signing: bounded tasks on the node's runtime, so that a backend that doesn't answer costs
//! its own callers only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::metrics::Gauge;
use kms_backend::{BackendError, ErrorChain, Failure, Request};
use kms_keys::Signature;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

use crate::batch::Outcomes;
use crate::breaker::{Breaker, BreakerState, Verdict};
use crate::job::Ticket;
use crate::lifecycle::guarded;
use crate::places::Places;
use crate::reply::Reply;
use crate::{Caller, KmsError, metrics};

/// How many may ask at once how the backends are.
const ASKING: usize = 64;

/// When to try again where that many are under way.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The remote backends of a service, each with its own bound.
pub(crate) struct RemoteTasks {
    backends: Arc<BTreeMap<String, Remote>>,
    asking: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    runtime: Handle,
}

/// A remote backend: how much may be under way at once, and whether it is worth asking.
struct Remote {
    places: Arc<Places>,
    breaker: Arc<Breaker>,
    /// How many requests there are.
    requests: Gauge,
    /// How it failed since it answered last, for whoever is refused because of that.
    last_failure: Arc<Mutex<Option<String>>>,
}

/// What a remote backend may answer.
pub(crate) trait Answer: Send + 'static {
    /// What the answer says about the backend.
    fn verdict(&self) -> Verdict;

    /// The error in it that says how the backend has failed, if it has.
    fn failure(&self) -> Option<&KmsError> {
        None
    }
}

impl Answer for Signature {
    fn verdict(&self) -> Verdict {
        Verdict::Answered
    }
}

/// One signature among many shows that the backend works. It was not asked for messages that the service
/// has refused itself.
impl Answer for Outcomes {
    fn verdict(&self) -> Verdict {
        let each = self.iter().filter_map(|outcome| match outcome {
            Ok(_) => Some(Verdict::Answered),
            Err(KmsError::TooLarge { .. } | KmsError::InvalidInput { .. }) => None,
            Err(error) => Some(verdict(error)),
        });
        each.max().unwrap_or(Verdict::Unanswered)
    }

    fn failure(&self) -> Option<&KmsError> {
        if self.verdict() != Verdict::Failed {
            return None;
        }
        let mut errors = self.iter().filter_map(|outcome| outcome.as_ref().err());
        errors.find(|error| verdict(error) == Verdict::Failed)
    }
}

/// Who asks which backend for something, and how many places that takes.
pub(crate) struct Demand<'a> {
    pub(crate) backend: &'a str,
    pub(crate) caller: &'a Caller,
    pub(crate) places: usize,
}

impl RemoteTasks {
    /// Tasks at the backends of these names, each of which takes as much as fits in `capacity` places.
    pub(crate) fn new<'a>(
        backends: impl Iterator<Item = &'a String>,
        capacity: usize,
        runtime: &Handle,
    ) -> Self {
        let backends = backends.map(|name| {
            let breaker = Breaker::new(metrics::breaker(name));
            let (places, last_failure) = (Places::new(capacity), Arc::default());
            let requests = metrics::at_backend(name);
            (name.clone(), Remote { places, breaker, requests, last_failure })
        });
        Self {
            backends: Arc::new(backends.collect()),
            asking: Arc::new(Semaphore::new(ASKING)),
            stop: watch::Sender::new(false),
            runtime: runtime.clone(),
        }
    }

    /// Does `work` at a backend and answers, for as long as anybody waits for it.
    pub(crate) fn spawn<T: Answer>(
        &self,
        demand: &Demand<'_>,
        ticket: Ticket<T>,
        work: impl Future<Output = Result<T, KmsError>> + Send + 'static,
    ) {
        let Demand { backend, caller, places } = *demand;
        if let Some(void) = ticket.void(Instant::now()) {
            return ticket.answer(Err(void));
        }
        let Some(remote) = self.backends.get(backend) else {
            return ticket.answer(Err(KmsError::Internal));
        };
        let Some(taken) = remote.places.take(caller, places) else {
            return ticket.refuse(KmsError::Overloaded { retry_after: RETRY_AFTER });
        };
        let pass = match remote.breaker.admit(Instant::now()) {
            Ok(pass) => pass,
            Err(pause) => {
                let what = format!(
                    "backend {backend} has failed again and again; it is asked in {pause:?}"
                );
                let last = remote.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
                let failure = match last.clone() {
                    Some(last) => Failure::because(what, last),
                    None => Failure::new(what),
                };
                return ticket.answer(Err(KmsError::Backend(BackendError::Unavailable(failure))));
            }
        };
        let mut stopped = self.stop.subscribe();
        let (span, last_failure) = (ticket.span.clone(), Arc::clone(&remote.last_failure));
        let request = Request::until(ticket.deadline).of(caller.id());
        let here = Here::at(&remote.requests);
        let task = async move {
            let mut ticket = ticket;
            let (until, counters) = (ticket.deadline, Arc::clone(&ticket.counters));
            let begun = Instant::now();
            let work = request.scope(work);
            let answer = tokio::select! {
                // What the work makes of its deadline itself counts before the deadline.
                biased;
                answer = guarded(&counters, work) => answer.and_then(|answer| answer),
                _ = stopped.wait_for(|stopped| *stopped) => Err(KmsError::Stopped),
                () = tokio::time::sleep_until(until.into()) => Err(KmsError::DeadlineExceeded),
                // A caller goes when its deadline has passed, too.
                () = ticket.reply.closed() => Err(if until <= Instant::now() {
                    KmsError::DeadlineExceeded
                } else {
                    KmsError::AnswerLost
                }),
            };
            drop((taken, here));
            let now = Instant::now();
            let begun = (begun + request.waited()).min(now);
            ticket.reply.begun(begun);
            ticket.reply.done(now - begun, Duration::ZERO);
            let verdict = answer.as_ref().map_or_else(verdict, T::verdict);
            if verdict != Verdict::Unanswered {
                let failure = match &answer {
                    Ok(answer) => answer.failure(),
                    Err(error) => Some(error).filter(|_| verdict == Verdict::Failed),
                };
                let failure = failure.map(|error| ErrorChain(error).to_string());
                *last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
            }
            pass.ended(verdict, now);
            ticket.answer(answer);
        };
        self.runtime.spawn(task.instrument(span));
    }

    /// Tells whether the backend of a name is worth asking.
    pub(crate) fn breakers(&self) -> impl Fn(&str) -> BreakerState + Clone + Send + Sync + use<> {
        let backends = Arc::clone(&self.backends);
        move |name| backends.get(name).map_or(BreakerState::Closed, |remote| remote.breaker.look())
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

/// Counted among the requests at a backend until this is dropped.
struct Here(Gauge);

impl Here {
    fn at(requests: &Gauge) -> Self {
        requests.increment(1);
        Self(requests.clone())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// What an error says about the backend.
fn verdict(error: &KmsError) -> Verdict {
    match error {
        KmsError::Backend(BackendError::Unavailable(_) | BackendError::Throttled { .. }) => {
            Verdict::Failed
        }
        // A panic and a stop are no answer of whoever is asked, either.
        KmsError::DeadlineExceeded
        | KmsError::AnswerLost
        | KmsError::Internal
        | KmsError::Stopped => Verdict::Unanswered,
        _ => Verdict::Answered,
    }
}

#[cfg(test)]
mod tests {
    use kms_keys::{KeyType, SecretKey, SigningScheme};

    use super::*;

    #[test]
    fn of_many_outcomes_one_signature_tells_that_the_backend_works() {
        let key = SecretKey::generate(KeyType::Ed25519).unwrap();
        let signed = || Ok(key.sign(SigningScheme::Ed25519, b"m").unwrap());
        let down = || Err(KmsError::Backend(BackendError::Unavailable(Failure::new("down"))));
        let late = || Err(KmsError::DeadlineExceeded);
        let denied = || Err(KmsError::Backend(BackendError::Denied(Failure::new("no"))));
        let large = || Err(KmsError::TooLarge { what: "the message", found: 2, limit: 1 });
        for (outcomes, expected) in [
            (vec![], Verdict::Unanswered),
            (vec![large(), late()], Verdict::Unanswered),
            (vec![large(), down()], Verdict::Failed),
            (vec![late(), late()], Verdict::Unanswered),
            (vec![late(), down(), late()], Verdict::Failed),
            (vec![down(), signed(), late()], Verdict::Answered),
            (vec![down(), denied()], Verdict::Answered),
        ] {
            assert_eq!(outcomes.verdict(), expected, "{outcomes:?}");
        }
    }
}
