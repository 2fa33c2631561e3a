//! What a backend may know of the request that it works for: until when its answer is worth having, for
//! whom it is, and how long it has waited for its turn.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

tokio::task_local! {
    static REQUEST: Request;
}

/// A request, for as long as a backend works for it. Clones are the same request.
#[derive(Clone, Debug)]
pub struct Request {
    deadline: Instant,
    caller: Option<Arc<str>>,
    /// In nanoseconds.
    waited: Arc<AtomicU64>,
}

impl Request {
    /// A request of nobody in particular, with this deadline.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, caller: None, waited: Arc::default() }
    }

    /// The same, of the service with this id.
    #[must_use]
    pub fn of(self, caller: Arc<str>) -> Self {
        Self { caller: Some(caller), ..self }
    }

    /// The request that the calling task works for. `None` if nobody has said one, also in tasks that were
    /// spawned meanwhile.
    #[must_use]
    pub fn current() -> Option<Self> {
        REQUEST.try_with(Self::clone).ok()
    }

    /// A backend that would wait beyond it may as well give up.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The id of the service whose request it is, if it is one's. A backend at which many wait may let
    /// them take turns.
    #[must_use]
    pub fn caller(&self) -> Option<&Arc<str>> {
        self.caller.as_ref()
    }

    /// Runs `work`, which belongs to this request: whatever asks for [`Request::current`] in it then gets
    /// this one. Doesn't end `work` at the deadline.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        REQUEST.scope(self.clone(), work).await
    }

    /// How long the work has waited for its turn ([`waiting`]).
    #[must_use]
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }
}

/// Runs `turn`, which waits until the work may begin. The time counts as waiting, not as work, also if
/// it is given up.
pub async fn waiting<F: Future>(turn: F) -> F::Output {
    let _waiting = Waiting(Instant::now());
    turn.await
}

struct Waiting(Instant);

impl Drop for Waiting {
    fn drop(&mut self) {
        let time = u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Without a request nobody wants to know.
        let add = |request: &Request| request.waited.fetch_add(time, Ordering::Relaxed);
        REQUEST.try_with(add).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_known_inside_alone() {
        let seen = || async {
            Request::current().map(|request| (request.deadline(), request.caller().cloned()))
        };
        assert_eq!(seen().await, None);
        let (until, id): (_, Arc<str>) = (Instant::now(), "Proposer".into());
        let request = Request::until(until);
        assert_eq!(request.scope(seen()).await, Some((until, None)));
        let request = request.of(Arc::clone(&id));
        assert_eq!(request.scope(seen()).await, Some((until, Some(id))));
        assert_eq!(seen().await, None);
    }

    #[tokio::test]
    async fn waiting_is_counted_also_when_it_is_given_up() {
        let request = Request::until(Instant::now());
        let moment = Duration::from_millis(2);
        let slow = || async { std::thread::sleep(moment) };
        request.scope(async { slow().await }).await;
        assert_eq!(request.waited(), Duration::ZERO);
        request.scope(waiting(slow())).await;
        let once = request.waited();
        assert!(once >= moment);
        let never = async {
            slow().await;
            std::future::pending::<()>().await;
        };
        let given_up = request.scope(tokio::time::timeout(moment, waiting(never))).await;
        assert!(given_up.is_err());
        assert!(request.waited() >= once + moment);
    }
}
