//! The threads of a lane.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::dispatcher;
use tracing::subscriber::NoSubscriber;

use crate::fair::Item;
use crate::job::Job;
use crate::lane::{Call, Shared, State};
use crate::sync::{PoisonError, set_niceness, thread};

/// What was done is not kept from going out for longer than this by what was taken along with it: a batch
/// of signatures takes less, an operator may take any time.
const LONG: Duration = Duration::from_millis(1);

/// A thread of a lane. However it ends, it is counted out, and replaced unless the lane is closed.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    /// Whether there is a thread: one that could not be made is not replaced at once, but by the next job.
    started: bool,
    /// Whether it has counted itself among those at work.
    at_work: bool,
    /// Whether it ends because the lane was closed.
    done: bool,
}

/// A job, and how many signatures of it are to be made now.
type Share = (Item<Box<dyn Job>>, usize);

impl Worker {
    /// Starts a thread that has been counted among [`State::threads`].
    pub(crate) fn start(shared: Arc<Shared>) {
        let lane = Arc::clone(&shared);
        let worker = Self { shared, started: false, at_work: false, done: false };
        let name = format!("kms-{}", worker.shared.kind.name);
        let started = thread::Builder::new().name(name).spawn(move || worker.run());
        if let Err(error) = started {
            // The worker was dropped, and has counted itself out; the next job tries again.
            tracing::error!(%error, "no thread to sign on");
            lane.give_up_without_threads();
        }
    }

    fn run(mut self) {
        self.started = true;
        set_niceness(self.shared.kind.niceness);
        // Logs of the whole process are met here without this; they would only be slower by it.
        let logs_nowhere = dispatcher::get_default(|log| log.is::<NoSubscriber>());
        let log = self.shared.log.clone();
        let _logging = logs_nowhere.then(|| dispatcher::set_default(&log));
        let mut taken = Vec::with_capacity(self.shared.kind.batch);
        let mut unfinished = Vec::new();
        while self.take(&mut taken, &mut unfinished) {
            self.work(&mut taken, &mut unfinished);
        }
        self.done = true;
    }

    /// Does what was taken, and has it answered; what was not finished by that goes to `unfinished`.
    fn work(&self, taken: &mut Vec<Share>, unfinished: &mut Vec<Item<Box<dyn Job>>>) {
        let shared = &self.shared;
        let mut left = taken.len();
        let mut done = Vec::with_capacity(if left > 1 { left } else { 0 });
        let mut begun = Instant::now();
        for (mut item, number) in taken.drain(..) {
            left -= 1;
            // An operator may take any time, and a large message some.
            if number > 1 && !done.is_empty() {
                shared.outbox.put(std::mem::take(&mut done));
            }
            item.of.run(number, &|| shared.is_closed());
            let weight = item.of.weight();
            if weight > 0 {
                item.weight = weight;
                unfinished.push(item);
            } else if left == 0 && done.is_empty() {
                // What is handed over is waited for a little longer.
                return shared.outbox.give(item.of);
            } else {
                done.push(item.of);
            }
            if left > 0 && !done.is_empty() && begun.elapsed() > LONG {
                shared.outbox.put(std::mem::take(&mut done));
                begun = Instant::now();
            }
        }
        if !done.is_empty() {
            shared.outbox.put(done);
        }
    }

    /// Gives back what is unfinished, waits for jobs and takes some; none, and `false`, once the lane is
    /// closed.
    fn take(&mut self, taken: &mut Vec<Share>, unfinished: &mut Vec<Item<Box<dyn Job>>>) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.rest(&mut state);
        unfinished.drain(..).for_each(|item| state.waiting.put_back(item));
        loop {
            // Shared out among the threads, so that no core is idle while another has much to do.
            let fair = state.waiting.len().div_ceil(shared.kind.threads).max(1);
            let mut room = shared.kind.batch;
            while taken.len() < fair
                && room > 0
                && let Some(item) = state.waiting.pop()
            {
                let number = item.of.weight().min(room);
                room -= number.max(1);
                taken.push((item, number));
            }
            if !taken.is_empty() {
                self.at_work = true;
                shared.count_running(&mut state, 1);
                // Whoever queued the rest may have seen this thread free, and woken no other.
                let more = !state.waiting.is_empty();
                let call = if more { shared.call(&mut state) } else { Call::Nobody };
                shared.release(state);
                shared.answer_call(call);
                return true;
            }
            // What was given back after the close has been taken again, and finds the lane closed.
            if shared.is_closed() {
                return false;
            }
            state.free += 1;
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.free -= 1;
        }
    }

    /// Counts itself out of those at work.
    fn rest(&mut self, state: &mut State) {
        if std::mem::take(&mut self.at_work) {
            self.shared.count_running(state, -1);
            if state.running == 0 {
                self.shared.idle.notify_all();
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.rest(&mut state);
        state.threads -= 1;
        // A job that came in while this thread died has nobody else to wake.
        let replace = self.started && thread::panicking() && !self.done && !shared.is_closed();
        state.threads += usize::from(replace);
        shared.release(state);
        if replace {
            shared.counters.panics.increment();
            tracing::error!("a signing thread died; another takes its place");
            Self::start(shared);
        }
    }
}
