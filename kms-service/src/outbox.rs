//! Answers on their way to callers who wait on the node's runtime.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::counters::CounterSet;
use crate::job::Job;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Has [`Outbox::give_next`] called somewhere where that doesn't keep a lane from its work.
///
/// On threads of the runtime, a caller that is woken runs next. If a lane's thread woke it, both would
/// compete for a core, at each answer anew; measured, that was a tenth of all work.
pub(crate) type Deliver = Box<dyn Fn(Arc<Outbox>) + Send + Sync>;

/// Jobs that were done together and are to be answered together. Whatever becomes of those who were to
/// give the answers, closing it gives the rest.
pub(crate) struct Outbox {
    deliver: Deliver,
    counters: Arc<CounterSet>,
    state: Mutex<State>,
    /// Nothing is being given out.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<Box<dyn Job>>>,
    /// How many are giving answers out just now.
    giving: usize,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(deliver: Deliver, counters: Arc<CounterSet>) -> Arc<Self> {
        Arc::new(Self { deliver, counters, state: Mutex::default(), idle: Condvar::new() })
    }

    /// Answers `jobs` soon, elsewhere.
    pub(crate) fn put(self: &Arc<Self>, jobs: Vec<Box<dyn Job>>) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            return jobs.into_iter().for_each(|job| self.give(job));
        }
        state.waiting.push_back(jobs);
        drop(state);
        (self.deliver)(Arc::clone(self));
    }

    /// Answers `job` here and now.
    pub(crate) fn give(&self, job: Box<dyn Job>) {
        if catch_unwind(AssertUnwindSafe(|| job.answer())).is_err() {
            self.counters.panics.increment();
            tracing::error!("giving an answer panicked; it is lost");
        }
    }

    /// Answers the jobs that have waited longest, if they still do.
    pub(crate) fn give_next(&self) {
        let mut state = self.state();
        let Some(jobs) = state.waiting.pop_front() else { return };
        state.giving += 1;
        drop(state);
        jobs.into_iter().for_each(|job| self.give(job));
        let mut state = self.state();
        state.giving -= 1;
        if state.closed && state.giving == 0 {
            self.idle.notify_all();
        }
    }

    /// Answers everything that waits, and blocks until what is being given out has been – or until then.
    /// What comes later is answered by who brings it.
    pub(crate) fn close(&self, until: Instant) {
        let mut state = self.state();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().flatten().for_each(|job| self.give(job));
        let mut state = self.state();
        while state.giving > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return tracing::warn!("answers that don't come to an end; left behind");
            }
            let waited = self.idle.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::KmsError;

    /// Says that it was answered, or panics instead.
    struct Done(Option<Sender<()>>);

    impl Job for Done {
        fn weight(&self) -> usize {
            0
        }

        fn run(&mut self, _: usize, _: &dyn Fn() -> bool) {}

        fn answer(self: Box<Self>) {
            self.0.expect("an answer that panics").send(()).unwrap();
        }

        fn refuse(self: Box<Self>, _: KmsError) {}
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn what_nobody_came_to_give_out_is_given_out_by_the_close() {
        let outbox = Outbox::new(Box::new(|_| {}), Arc::default());
        let (said, heard) = channel();
        outbox.put(vec![Box::new(Done(Some(said.clone()))), Box::new(Done(Some(said.clone())))]);
        assert!(heard.try_recv().is_err());
        outbox.close(soon());
        outbox.put(vec![Box::new(Done(Some(said)))]);
        assert_eq!(heard.try_iter().count(), 3);
        outbox.give_next();
    }

    #[test]
    fn the_close_waits_for_what_is_being_given_out() {
        let outbox = Outbox::new(
            Box::new(|outbox| {
                thread::spawn(move || outbox.give_next());
            }),
            Arc::default(),
        );
        let (said, heard) = channel();
        for _ in 0..200 {
            outbox
                .put(vec![Box::new(Done(Some(said.clone()))), Box::new(Done(Some(said.clone())))]);
        }
        outbox.close(soon());
        assert_eq!(heard.try_iter().count(), 400);
    }

    #[test]
    fn an_answer_that_panics_takes_no_other_with_it() {
        let counters = Arc::<CounterSet>::default();
        let outbox = Outbox::new(Box::new(|outbox| outbox.give_next()), Arc::clone(&counters));
        let (said, heard) = channel();
        outbox.put(vec![Box::new(Done(None)), Box::new(Done(Some(said)))]);
        assert_eq!(heard.try_iter().count(), 1);
        assert_eq!(counters.snapshot().panics, 1);
        outbox.close(soon());
    }
}
