//! Lanes: where local signing runs. Cheap keys have a lane of their own, so that they never wait
//! behind costly ones.
//!
//! Each lane has threads that belong to the service ([`worker`](crate::worker)), and a queue that is fair
//! to callers. All of them run at a lower priority than the node's runtime, which has little to do for
//! each signature, and those of the costly lane at a still lower one: with all at work, a cheap signature
//! still gets a core at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::metrics::Gauge;
use kms_keys::KeyType;
use tracing::dispatcher::{self, Dispatch};

use crate::counters::CounterSet;
use crate::fair::{FairQueue, Item, Queued};
use crate::job::Job;
use crate::limits::Threads;
use crate::outbox::{Deliver, Outbox};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::worker::Worker;
use crate::{Caller, KmsError, metrics, sync};

/// About what one signature costs, for the hint when to try again.
const CHEAP_SIGNATURE: Duration = Duration::from_micros(50);
const COSTLY_SIGNATURE: Duration = Duration::from_micros(500);

/// How many cheap signatures a thread makes before it looks again who waits, at most. Their answers go
/// out together ([`Outbox`]), so the first waits for the last, about half a millisecond.
const CHEAP_BATCH: usize = 16;

/// Costly signatures are made one by one.
const COSTLY_BATCH: usize = 1;

/// By how much the priority of signing is lower ("nice"): the node's runtime, which has little to do for
/// each signature, must not wait behind it.
const CHEAP_NICE: i32 = 8;
/// The same for costly signing.
const COSTLY_NICE: i32 = 12;

/// How long a stop waits for what runs: ten thousand times what a signature takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// When to try again where no thread could be made.
const NO_THREAD: Duration = Duration::from_secs(1);

/// The lanes of a service.
pub(crate) struct Lanes {
    cheap: Lane,
    costly: Lane,
    outbox: Arc<Outbox>,
}

impl Lanes {
    /// Lanes in each of which as much may wait as fits in `capacity` places.
    pub(crate) fn new(
        capacity: usize,
        threads: Threads,
        counters: &Arc<CounterSet>,
        deliver: Deliver,
    ) -> Self {
        // That of the node's threads: of one of them, the service is made.
        let niceness = sync::niceness();
        let outbox = Outbox::new(deliver, Arc::clone(counters));
        let lane = |kind| Lane::new(kind, capacity, Arc::clone(counters), Arc::clone(&outbox));
        Self {
            cheap: lane(Kind {
                name: "cheap",
                threads: threads.cheap(),
                batch: CHEAP_BATCH,
                niceness: niceness + CHEAP_NICE,
                typical: CHEAP_SIGNATURE,
            }),
            costly: lane(Kind {
                name: "costly",
                threads: threads.costly(),
                batch: COSTLY_BATCH,
                niceness: niceness + COSTLY_NICE,
                typical: COSTLY_SIGNATURE,
            }),
            outbox,
        }
    }

    /// Hands a job to the lane for keys of this type, where it takes so many `places`. A full lane refuses
    /// at once: this job, or one of a caller that has more waiting. Threads that rest are not woken for it
    /// before [`Lanes::call`].
    pub(crate) fn submit(
        &self,
        key_type: KeyType,
        caller: Caller,
        places: usize,
        job: Box<dyn Job>,
    ) {
        self.of(key_type).submit(caller, places, job);
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
        submitted.peek().is_some() && submitted.all(|lane| lane.shared.seen.is_at_work())
    }

    /// Whether nothing waits or runs in the lane for keys of this type.
    pub(crate) fn is_idle(&self, key_type: KeyType) -> bool {
        self.of(key_type).shared.seen.is_idle()
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

    /// Answers what waits with [`KmsError::Stopped`], and blocks until what runs has ended and everybody
    /// is answered – or, where a signer or operator doesn't come to an end, for [`PATIENCE`].
    pub(crate) fn close(&self) {
        self.cheap.close();
        self.costly.close();
        let until = Instant::now() + PATIENCE;
        self.cheap.wait_until_idle(until);
        self.costly.wait_until_idle(until);
        self.outbox.close(until);
    }
}

/// What one lane is.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) threads: usize,
    pub(crate) batch: usize,
    /// Of its threads.
    pub(crate) niceness: i32,
    pub(crate) typical: Duration,
}

struct Lane {
    shared: Arc<Shared>,
    capacity: usize,
    /// Whether something was submitted that no thread was woken for.
    submitted: AtomicBool,
}

/// What a lane shares with its threads.
pub(crate) struct Shared {
    pub(crate) kind: Kind,
    pub(crate) counters: Arc<CounterSet>,
    state: Mutex<State>,
    seen: Seen,
    /// How many wait.
    depth: Gauge,
    /// Something waits, or the lane was closed.
    pub(crate) work: Condvar,
    /// Nothing runs.
    pub(crate) idle: Condvar,
    closed: AtomicBool,
    pub(crate) outbox: Arc<Outbox>,
    /// Where the service logs to; its threads do too.
    pub(crate) log: Dispatch,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) waiting: FairQueue<Box<dyn Job>>,
    /// Threads that there are. They are made when there is work for them first.
    pub(crate) threads: usize,
    /// Threads that wait for work.
    pub(crate) free: usize,
    /// Threads at work.
    pub(crate) running: usize,
    /// How many waited when the gauge was told last.
    shown: usize,
}

/// What the service's loop sees of a lane without its lock, which a thread of low priority may hold.
#[derive(Default)]
struct Seen {
    waiting: AtomicUsize,
    running: AtomicUsize,
}

impl Seen {
    fn is_at_work(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0 && !self.is_at_work()
    }
}

impl Lane {
    fn new(kind: Kind, capacity: usize, counters: Arc<CounterSet>, outbox: Arc<Outbox>) -> Self {
        let shared = Shared {
            depth: metrics::queue_depth(kind.name),
            kind,
            counters,
            state: Mutex::default(),
            seen: Seen::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            closed: AtomicBool::new(false),
            outbox,
            log: dispatcher::get_default(Dispatch::clone),
        };
        Self { shared: Arc::new(shared), capacity, submitted: AtomicBool::new(false) }
    }

    fn submit(&self, caller: Caller, places: usize, job: Box<dyn Job>) {
        let shared = &self.shared;
        let weight = job.weight();
        let long = job.is_divisible() && weight > shared.kind.batch;
        // Of an operator, nobody knows how long it takes.
        let weight = if weight == usize::MAX { 1 } else { weight };
        let item = Item { caller, places, weight, long, of: job };
        let mut state = shared.state();
        if shared.is_closed() {
            drop(state);
            return item.of.refuse(KmsError::Stopped);
        }
        // What a thread is about to take doesn't wait.
        let capacity = self.capacity + (shared.kind.threads - state.running);
        let refused = state.waiting.push(item, capacity);
        let rounds = state.waiting.weight() / shared.kind.threads;
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        shared.release(state);
        self.submitted.store(true, Ordering::Relaxed);
        let retry_after = shared.kind.typical.saturating_mul(rounds.max(1));
        let refuse =
            |item: Item<Box<dyn Job>>| item.of.refuse(KmsError::Overloaded { retry_after });
        match refused {
            Queued::Waits => {}
            Queued::Instead(evicted) => evicted.into_iter().for_each(refuse),
            Queued::Full(item) => refuse(item),
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
        let call = shared.call(&mut state);
        drop(state);
        shared.answer_call(call);
    }

    fn close(&self) {
        let shared = &self.shared;
        let mut state = shared.state();
        shared.closed.store(true, Ordering::Release);
        let waiting = state.waiting.drain();
        shared.release(state);
        shared.work.notify_all();
        waiting.for_each(|item| item.of.refuse(KmsError::Stopped));
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

/// What is to be done for work that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Nothing: all threads are at work.
    Nobody,
    /// Waking a thread.
    Wake,
    /// Making one.
    Start,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the lock back, and shows what has changed.
    pub(crate) fn release(&self, mut state: MutexGuard<'_, State>) {
        let (before, now) = (state.shown, state.waiting.len());
        state.shown = now;
        self.seen.waiting.store(now, Ordering::Relaxed);
        drop(state);
        // A recorder may be slow. And several nodes may share one: each adds what is its own.
        if now > before {
            self.depth.increment(metrics::as_f64(now - before));
        } else if now < before {
            self.depth.decrement(metrics::as_f64(before - now));
        }
    }

    /// A thread begins to work, or ends.
    pub(crate) fn count_running(&self, state: &mut State, change: isize) {
        state.running = state.running.saturating_add_signed(change);
        self.seen.running.store(state.running, Ordering::Relaxed);
    }

    /// What is to be done for work that waits, counted.
    pub(crate) fn call(&self, state: &mut State) -> Call {
        if state.free > 0 {
            Call::Wake
        } else if state.threads < self.kind.threads {
            state.threads += 1;
            Call::Start
        } else {
            Call::Nobody
        }
    }

    /// Does what [`Shared::call`] said, without the lock.
    pub(crate) fn answer_call(self: &Arc<Self>, call: Call) {
        match call {
            Call::Nobody => {}
            Call::Wake => self.work.notify_one(),
            Call::Start => Worker::start(Arc::clone(self)),
        }
    }

    /// No thread could be made. If there is no other, nobody will come for what waits.
    pub(crate) fn give_up_without_threads(&self) {
        let mut state = self.state();
        if state.threads > 0 {
            return;
        }
        let waiting = state.waiting.drain();
        self.release(state);
        let overloaded = || KmsError::Overloaded { retry_after: NO_THREAD };
        waiting.for_each(|item| item.of.refuse(overloaded()));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::sync::thread;

    /// A job that panics, or says that it was done or refused.
    struct TestJob {
        panics: bool,
        weight: usize,
        said: Sender<&'static str>,
    }

    impl Job for TestJob {
        fn weight(&self) -> usize {
            self.weight
        }

        fn run(&mut self, number: usize, _: &dyn Fn() -> bool) {
            assert!(!self.panics, "a job that kills its thread");
            assert!(number <= CHEAP_BATCH);
            self.weight -= number;
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
        Lanes::new(8, limits, counters, Box::new(|outbox| outbox.give_next()))
    }

    #[test]
    fn threads_that_die_are_replaced() {
        let counters = Arc::new(CounterSet::default());
        let lanes = lanes(2, &counters);
        let (said, heard) = channel();
        let caller = Caller::new("test".into());
        for round in 1..=20 {
            for panics in [true, false] {
                let job = TestJob { panics, weight: 1, said: said.clone() };
                lanes.submit(KeyType::Ed25519, caller.clone(), 1, Box::new(job));
                lanes.call();
            }
            assert_eq!(heard.recv_timeout(PATIENCE), Ok("done"), "round {round}");
        }
        lanes.close();
        assert!(lanes.is_idle(KeyType::Ed25519));
        assert!(counters.snapshot().panics > 0);
        let job = TestJob { panics: false, weight: 1, said };
        lanes.submit(KeyType::Ed25519, caller.clone(), 1, Box::new(job));
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
                        let job = TestJob { panics: false, weight: round % 40, said: said.clone() };
                        lanes.submit(key_type, caller.clone(), 1, Box::new(job));
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
