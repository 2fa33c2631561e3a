//! Waiting on the thread that drops the service.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Does `work` on this thread, for at most `limit`; says whether that was enough. Needs nothing of
/// the runtime: while that is being shut down, neither its timers nor its threads go on.
pub(crate) fn wait_at_most(limit: Duration, work: impl Future) -> bool {
    let until = Instant::now() + limit;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut work = pin!(work);
    loop {
        if work.as_mut().poll(&mut context).is_ready() {
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn what_comes_in_time_is_waited_for() {
        let (sender, receiver) = oneshot::channel::<()>();
        let other = thread::spawn(move || sender.send(()).unwrap());
        assert!(wait_at_most(Duration::from_secs(60), receiver));
        other.join().unwrap();
    }

    #[test]
    fn what_never_comes_is_not() {
        let never = std::future::pending::<()>();
        assert!(!wait_at_most(Duration::from_millis(1), never));
    }
}
