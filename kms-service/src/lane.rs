//! Lanes: where local signing runs. Cheap keys have a lane of their own, so that they never wait
//! behind costly ones.
//!
//! Each lane has threads that belong to the service, and a queue that is fair to callers. All of them
//! run at a lower priority than the node's runtime, which has little to do for each signature, and those of
//! the costly lane at a still lower one: with all at work, a cheap signature still gets a core at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::metrics::Gauge;
use kms_keys::KeyType;
use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;

use crate::counters::CounterSet;
use crate::fair::{FairQueue, Queued};
use crate::job::Job;
use crate::limits::Threads;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};
use crate::{Caller, KmsError, metrics};

/// About what one signature costs, for the hint when to try again.
const CHEAP_SIGNATURE: Duration = Duration::from_micros(50);
const COSTLY_SIGNATURE: Duration = Duration::from_micros(500);

/// How many cheap jobs a thread takes at once, at most. Their answers go out together ([`Deliver`]), so
/// the first waits for the last: of single signatures, for half a millisecond or a little more.
const CHEAP_BATCH: usize = 16;

/// Costly jobs are taken one by one.
const COSTLY_BATCH: usize = 1;

/// By how much the priority of signing is lower ("nice"): the node's runtime, which has little to do for
/// each signature, must not wait behind it.
const CHEAP_NICE: i32 = 4;
/// The same for costly signing.
const COSTLY_NICE: i32 = 8;

/// How long a stop waits for what runs: ten thousand times what a signature takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers jobs that were done together, somewhere where that doesn't keep a lane from its work.
///
/// On threads of the runtime, a caller that is woken runs next. If a lane's thread woke it, both would
/// compete for a core, at each answer anew; measured, that was a tenth of all work.
pub(crate) type Deliver = Arc<dyn Fn(Vec<Box<dyn Job>>) + Send + Sync>;

/// The lanes of a service.
pub(crate) struct Lanes {
    cheap: Lane,
    costly: Lane,
}

impl Lanes {
    /// Lanes in which `capacity` jobs each may wait.
    pub(crate) fn new(
        capacity: usize,
        threads: Threads,
        counters: &Arc<CounterSet>,
        deliver: &Deliver,
    ) -> Self {
        let lane = |kind| Lane::new(kind, capacity, Arc::clone(counters), Arc::clone(deliver));
        Self {
            cheap: lane(Kind {
                name: "cheap",
                threads: threads.cheap(),
                batch: CHEAP_BATCH,
                nice: CHEAP_NICE,
                typical: CHEAP_SIGNATURE,
            }),
            costly: lane(Kind {
                name: "costly",
                threads: threads.costly(),
                batch: COSTLY_BATCH,
                nice: COSTLY_NICE,
                typical: COSTLY_SIGNATURE,
            }),
        }
    }

    /// Hands `job` to the lane for keys of this type. A full lane refuses at once: this job, or one of
    /// a caller that has more waiting. Threads that rest are not woken for it before [`Lanes::call`].
    pub(crate) fn submit(&self, key_type: KeyType, caller: &Caller, job: Box<dyn Job>) {
        self.of(key_type).submit(caller, job);
    }

    /// Wakes threads for what was submitted. Once for many jobs: to wake a thread for each costs as
    /// much as a cheap signature.
    pub(crate) fn call(&self) {
        self.cheap.call();
        self.costly.call();
    }

    /// Whether something was submitted since the last [`Lanes::call`], and only to lanes at work.
    pub(crate) fn can_wait(&self) -> bool {
        let mut submitted = [&self.cheap, &self.costly]
            .into_iter()
            .filter(|lane| lane.submitted.load(Ordering::Relaxed))
            .peekable();
        submitted.peek().is_some() && submitted.all(|lane| lane.shared.state().running > 0)
    }

    /// Whether nothing waits or runs in the lane for keys of this type.
    pub(crate) fn is_idle(&self, key_type: KeyType) -> bool {
        let state = self.of(key_type).shared.state();
        state.running == 0 && state.waiting.is_empty()
    }

    /// How many threads sign with keys of this type.
    pub(crate) fn threads(&self, key_type: KeyType) -> usize {
        self.of(key_type).shared.kind.threads
    }

    fn of(&self, key_type: KeyType) -> &Lane {
        match key_type {
            KeyType::Bls12381 => &self.costly,
            _ => &self.cheap,
        }
    }

    /// Answers what waits with [`KmsError::Stopped`], and blocks until what runs has ended – or, where
    /// a signer or operator doesn't come to an end, for [`PATIENCE`].
    pub(crate) fn close(&self) {
        self.cheap.close();
        self.costly.close();
        let until = Instant::now() + PATIENCE;
        self.cheap.wait_until_idle(until);
        self.costly.wait_until_idle(until);
    }
}

/// What one lane is.
struct Kind {
    name: &'static str,
    threads: usize,
    batch: usize,
    nice: i32,
    typical: Duration,
}

struct Lane {
    shared: Arc<Shared>,
    capacity: usize,
    /// Whether something was submitted that no thread was woken for.
    submitted: AtomicBool,
}

struct Shared {
    kind: Kind,
    counters: Arc<CounterSet>,
    state: Mutex<State>,
    /// How many wait, to be set before the lock is given back.
    depth: Gauge,
    /// Something waits, or the lane was closed.
    work: Condvar,
    /// Nothing runs.
    idle: Condvar,
    closed: AtomicBool,
    deliver: Deliver,
    /// Where the service logs to; its threads do too.
    log: Dispatch,
}

#[derive(Default)]
struct State {
    waiting: FairQueue<Box<dyn Job>>,
    /// Threads that there are. They are made when there is work for them first.
    threads: usize,
    /// Threads that wait for work.
    free: usize,
    /// Threads at work.
    running: usize,
}

impl Lane {
    fn new(kind: Kind, capacity: usize, counters: Arc<CounterSet>, deliver: Deliver) -> Self {
        let shared = Shared {
            depth: metrics::queue_depth(kind.name),
            kind,
            counters,
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            closed: AtomicBool::new(false),
            deliver,
            log: dispatcher::get_default(Dispatch::clone),
        };
        Self { shared: Arc::new(shared), capacity, submitted: AtomicBool::new(false) }
    }

    fn submit(&self, caller: &Caller, job: Box<dyn Job>) {
        let shared = &self.shared;
        let mut state = shared.state();
        if shared.is_closed() {
            drop(state);
            return job.refuse(KmsError::Stopped);
        }
        // What a thread is about to take doesn't wait.
        let capacity = self.capacity + (shared.kind.threads - state.running);
        let refused = match state.waiting.push(caller, job, capacity) {
            Queued::Waits => None,
            Queued::Instead(evicted) => Some(evicted),
            Queued::Full(job) => Some(job),
        };
        shared.show_depth(&state);
        let rounds = u32::try_from(state.waiting.len() / shared.kind.threads).unwrap_or(u32::MAX);
        drop(state);
        self.submitted.store(true, Ordering::Relaxed);
        if let Some(job) = refused {
            let retry_after = shared.kind.typical.saturating_mul(rounds.max(1));
            job.refuse(KmsError::Overloaded { retry_after });
        }
    }

    fn call(&self) {
        if !self.submitted.swap(false, Ordering::Relaxed) {
            return;
        }
        let shared = &self.shared;
        let mut state = shared.state();
        if state.waiting.is_empty() {
            return;
        }
        let (wake, start) = shared.call(&mut state);
        drop(state);
        shared.answer_call(wake, start);
    }

    fn close(&self) {
        let mut state = self.shared.state();
        self.shared.closed.store(true, Ordering::Release);
        let waiting = state.waiting.drain();
        self.shared.show_depth(&state);
        drop(state);
        self.shared.work.notify_all();
        for job in waiting {
            job.refuse(KmsError::Stopped);
        }
    }

    fn wait_until_idle(&self, until: Instant) {
        let mut state = self.shared.state();
        while state.running > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!("a signer or operator took more than {PATIENCE:?}; left behind");
                return;
            }
            let waited = self.shared.idle.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_depth(&self, state: &State) {
        self.depth.set(metrics::as_f64(state.waiting.len()));
    }

    /// Whether there is a thread to wake for work that waits, or one to start.
    fn call(&self, state: &mut State) -> (bool, bool) {
        let wake = state.free > 0;
        let start = !wake && state.threads < self.kind.threads;
        state.threads += usize::from(start);
        (wake, start)
    }

    /// Does what [`Shared::call`] said, without the lock.
    fn answer_call(self: &Arc<Self>, wake: bool, start: bool) {
        if wake {
            self.work.notify_one();
        } else if start {
            Worker::start(Arc::clone(self));
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A thread of a lane. However it ends, it is counted out, and replaced unless the lane is closed.
struct Worker {
    shared: Arc<Shared>,
    /// Whether there is a thread: one that could not be made is not replaced at once, but by the next job.
    started: bool,
    /// Whether it has counted itself among those at work.
    at_work: bool,
    /// Whether it ends because the lane was closed.
    done: bool,
}

impl Worker {
    /// Starts a thread that has been counted among [`State::threads`].
    fn start(shared: Arc<Shared>) {
        let worker = Self { shared, started: false, at_work: false, done: false };
        let name = format!("kms-{}", worker.shared.kind.name);
        let started = thread::Builder::new().name(name).spawn(move || worker.run());
        if let Err(error) = started {
            // The worker was dropped, and has counted itself out; the next job tries again.
            tracing::error!(%error, "no thread to sign on");
        }
    }

    fn run(mut self) {
        self.started = true;
        if self.shared.kind.nice > 0
            && let Err(error) = rustix::process::nice(self.shared.kind.nice)
        {
            tracing::warn!(%error, "signing runs at the priority of everything else");
        }
        // Logs of the whole process are met here without this; they would only be slower by it.
        let logs_nowhere = dispatcher::get_default(|log| log.is::<NoSubscriber>());
        let log = self.shared.log.clone();
        let _logging = logs_nowhere.then(|| dispatcher::set_default(&log));
        let mut batch: Vec<Box<dyn Job>> = Vec::with_capacity(self.shared.kind.batch);
        while self.take(&mut batch) {
            let shared = Arc::clone(&self.shared);
            for job in &mut batch {
                job.run(&|| shared.is_closed());
            }
            match batch.pop() {
                // What is handed over is waited for a little longer.
                Some(only) if batch.is_empty() => only.answer(),
                Some(last) => {
                    batch.push(last);
                    let empty = Vec::with_capacity(shared.kind.batch);
                    (shared.deliver)(std::mem::replace(&mut batch, empty));
                }
                None => {}
            }
        }
        self.done = true;
    }

    /// Waits for jobs and takes some; none, and `false`, once the lane is closed.
    fn take(&mut self, batch: &mut Vec<Box<dyn Job>>) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.rest(&mut state);
        loop {
            // Shared out among the threads, so that no core is idle while another has much to do.
            let fair = state.waiting.len().div_ceil(shared.kind.threads);
            while batch.len() < fair.clamp(1, shared.kind.batch) {
                match state.waiting.pop() {
                    Some(job) => batch.push(job),
                    None => break,
                }
            }
            if !batch.is_empty() {
                shared.show_depth(&state);
                self.at_work = true;
                state.running += 1;
                // Whoever queued the rest may have seen this thread free, and woken no other.
                let more = !state.waiting.is_empty();
                let (wake, start) = if more { shared.call(&mut state) } else { (false, false) };
                drop(state);
                shared.answer_call(wake, start);
                return true;
            }
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
            state.running -= 1;
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
        drop(state);
        if replace {
            shared.counters.panics.increment();
            tracing::error!("a signing thread died; another takes its place");
            Self::start(shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A job that panics, or says that it was done or refused.
    struct TestJob {
        panics: bool,
        said: Sender<&'static str>,
    }

    impl Job for TestJob {
        fn run(&mut self, _: &dyn Fn() -> bool) {
            assert!(!self.panics, "a job that kills its thread");
        }

        fn answer(self: Box<Self>) {
            self.said.send("done").unwrap();
        }

        fn refuse(self: Box<Self>, error: KmsError) {
            self.said
                .send(match error {
                    KmsError::Stopped => "stopped",
                    _ => "overloaded",
                })
                .unwrap();
        }
    }

    fn lanes(threads: usize, counters: &Arc<CounterSet>) -> Lanes {
        let mut limits = Threads::default();
        (limits.cheap, limits.costly) = (Some(threads), Some(threads));
        let deliver: Deliver = Arc::new(|jobs| jobs.into_iter().for_each(|job| job.answer()));
        Lanes::new(8, limits, counters, &deliver)
    }

    #[test]
    fn threads_that_die_are_replaced() {
        let counters = Arc::new(CounterSet::default());
        let lanes = lanes(2, &counters);
        let (said, heard) = channel();
        let caller = Caller::new("test".into());
        for round in 1..=20 {
            for panics in [true, false] {
                let job = TestJob { panics, said: said.clone() };
                lanes.submit(KeyType::Ed25519, &caller, Box::new(job));
                lanes.call();
            }
            assert_eq!(heard.recv_timeout(PATIENCE), Ok("done"), "round {round}");
        }
        lanes.close();
        assert!(lanes.is_idle(KeyType::Ed25519));
        assert!(counters.snapshot().panics > 0);
        let job = TestJob { panics: false, said };
        lanes.submit(KeyType::Ed25519, &caller, Box::new(job));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok("stopped"));
    }

    #[test]
    fn every_job_of_many_threads_is_done_once() {
        let lanes = Arc::new(lanes(3, &Arc::default()));
        let (said, heard) = channel();
        let submitters: Vec<_> = (0..4)
            .map(|number| {
                let (lanes, said) = (Arc::clone(&lanes), said.clone());
                thread::spawn(move || {
                    let caller = Caller::new(format!("caller {number}"));
                    for round in 0..2000 {
                        let key_type = KeyType::ALL[round % 3];
                        let job = TestJob { panics: false, said: said.clone() };
                        lanes.submit(key_type, &caller, Box::new(job));
                        lanes.call();
                    }
                })
            })
            .collect();
        submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
        drop(said);
        let mut said = 0;
        while heard.recv_timeout(PATIENCE).is_ok() {
            said += 1;
        }
        assert_eq!(said, 8000);
        lanes.close();
    }
}
