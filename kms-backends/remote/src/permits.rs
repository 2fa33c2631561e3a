//! How many may ask at once. Who must wait for that takes turns with other callers: a flood of one doesn't
//! keep another's request waiting until its deadline.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A number of permits, and who waits for one.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// By caller; the first one's turn is next. There are as many callers as a node has services.
    waiting: VecDeque<Share>,
}

#[derive(Debug)]
struct Share {
    caller: Option<Arc<str>>,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// One may ask for as long as this is held.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Permits>);

impl Permits {
    pub(crate) fn new(number: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { free: number, waiting: VecDeque::new() }) })
    }

    /// A permit for `caller`, at once or when its turn comes. Dropping the future gives the turn up.
    pub(crate) async fn acquire(self: &Arc<Self>, caller: Option<Arc<str>>) -> Permit {
        loop {
            let turn = {
                let mut state = self.state();
                if state.free > 0 {
                    state.free -= 1;
                    return Permit(Arc::clone(self));
                }
                state.wait(caller.clone())
            };
            // No sender is dropped unused while somebody waits.
            if let Ok(permit) = turn.await {
                return permit;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, caller: Option<Arc<str>>) -> oneshot::Receiver<Permit> {
        let (turn, its_turn) = oneshot::channel();
        match self.waiting.iter_mut().find(|share| share.caller == caller) {
            Some(share) => share.waiting.push_back(turn),
            None => self.waiting.push_back(Share { caller, waiting: VecDeque::from([turn]) }),
        }
        its_turn
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        loop {
            let mut share = self.waiting.pop_front()?;
            share.waiting.retain(|turn| !turn.is_closed());
            let Some(turn) = share.waiting.pop_front() else { continue };
            if !share.waiting.is_empty() {
                self.waiting.push_back(share);
            }
            return Some(turn);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let Some(turn) = state.next() else {
            state.free += 1;
            return;
        };
        drop(state);
        // Who has gone meanwhile gives it on when this is dropped.
        drop(turn.send(Permit(Arc::clone(&self.0))));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn caller(name: &str) -> Option<Arc<str>> {
        Some(name.into())
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn callers_take_turns_and_who_has_gone_is_passed_over() {
        let permits = Permits::new(1);
        let held = poll(pin!(permits.acquire(caller("flood")))).unwrap();
        let mut flood: Vec<_> =
            (0..5).map(|_| Box::pin(permits.acquire(caller("flood")))).collect();
        for waiting in &mut flood {
            assert!(poll(waiting.as_mut()).is_none());
        }
        let mut single = Box::pin(permits.acquire(caller("single")));
        assert!(poll(single.as_mut()).is_none());
        // The first of the flood gives up: before its turn, and the second when it has it.
        drop(flood.remove(0));
        drop(held);
        drop(flood.remove(0));
        let held = poll(single.as_mut()).unwrap();
        assert!(flood.iter_mut().all(|waiting| poll(waiting.as_mut()).is_none()));
        drop(held);
        for waiting in &mut flood {
            let held = poll(waiting.as_mut()).unwrap();
            drop(held);
        }
        drop(flood);
        let state = permits.state();
        assert_eq!((state.free, state.waiting.len()), (1, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn never_are_there_more_than_permits_and_none_is_lost() {
        let permits = Permits::new(3);
        let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let tasks: Vec<_> = (0..200_u64)
            .map(|number| {
                let (permits, inside) = (Arc::clone(&permits), Arc::clone(&inside));
                tokio::spawn(async move {
                    let acquire = permits.acquire(caller(&(number % 5).to_string()));
                    let patience = std::time::Duration::from_micros(number % 7 * 300);
                    let Ok(held) = tokio::time::timeout(patience, acquire).await else { return };
                    let order = std::sync::atomic::Ordering::SeqCst;
                    assert!(inside.fetch_add(1, order) < 3);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, order);
                    drop(held);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(permits.state().free, 3);
    }
}
