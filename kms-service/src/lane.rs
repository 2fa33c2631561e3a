//! Lanes: where local signing runs. Cheap keys have a lane of their own, so that they never wait
//! behind costly ones.
//!
//! Each lane runs on as many threads of tokio's blocking pool as the machine has cores, and only while
//! there is work. That it is the blocking pool is known in this file alone.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kms_keys::KeyType;
use tokio::runtime::Handle;

use crate::KmsError;
use crate::job::Job;

/// About what one signature costs, for the hint when to try again.
const CHEAP_SIGNATURE: Duration = Duration::from_micros(50);
const COSTLY_SIGNATURE: Duration = Duration::from_micros(500);

/// How long a stop waits for what runs: ten thousand times what a signature takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lanes of a service.
pub(crate) struct Lanes {
    cheap: Lane,
    costly: Lane,
}

impl Lanes {
    /// Lanes in which `capacity` jobs each may wait.
    pub(crate) fn new(capacity: usize, runtime: &Handle) -> Self {
        Self {
            cheap: Lane::new(capacity, CHEAP_SIGNATURE, runtime.clone()),
            costly: Lane::new(capacity, COSTLY_SIGNATURE, runtime.clone()),
        }
    }

    /// Hands `job` to the lane for keys of this type. A full lane refuses it at once.
    pub(crate) fn submit(&self, key_type: KeyType, job: Box<dyn Job>) {
        self.of(key_type).submit(job);
    }

    /// Whether nothing waits or runs in the lane for keys of this type.
    pub(crate) fn is_idle(&self, key_type: KeyType) -> bool {
        let state = self.of(key_type).shared.state();
        state.running == 0 && state.waiting.is_empty()
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

struct Lane {
    shared: Arc<Shared>,
    runtime: Handle,
    capacity: usize,
    threads: usize,
    typical: Duration,
}

struct Shared {
    state: Mutex<State>,
    idle: Condvar,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Job>>,
    running: usize,
}

impl Lane {
    fn new(capacity: usize, typical: Duration, runtime: Handle) -> Self {
        let shared = Shared {
            state: Mutex::default(),
            idle: Condvar::new(),
            closed: AtomicBool::new(false),
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { shared: Arc::new(shared), runtime, capacity, threads, typical }
    }

    fn submit(&self, job: Box<dyn Job>) {
        let mut state = self.shared.state();
        if self.shared.is_closed() {
            drop(state);
            return job.refuse(KmsError::Stopped);
        }
        // What a thread is about to take doesn't wait.
        let free = self.threads - state.running;
        if state.waiting.len() >= self.capacity + free {
            let rounds = u32::try_from(state.waiting.len() / self.threads).unwrap_or(u32::MAX);
            drop(state);
            let retry_after = self.typical.saturating_mul(rounds.max(1));
            return job.refuse(KmsError::Overloaded { retry_after });
        }
        state.waiting.push_back(job);
        if state.running < self.threads {
            state.running += 1;
            drop(state);
            let worker = Worker::new(Arc::clone(&self.shared));
            self.runtime.spawn_blocking(move || worker.run());
        }
    }

    fn close(&self) {
        let mut state = self.shared.state();
        self.shared.closed.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
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

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// One thread at work. Counted out when it finds nothing to do, or when it is dropped – also when the
/// runtime is shut down and drops it without ever running it.
struct Worker {
    shared: Arc<Shared>,
    counted: bool,
}

impl Worker {
    /// A worker that has been counted in.
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, counted: true }
    }

    fn run(mut self) {
        while let Some(job) = self.next() {
            job.run(&|| self.shared.is_closed());
        }
    }

    /// The next job. Finding none and being counted out are one step: a job that comes in between
    /// would wait for a worker that is about to go.
    fn next(&mut self) -> Option<Box<dyn Job>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let job = state.waiting.pop_front();
        if job.is_none() {
            self.count_out(&mut state);
        }
        job
    }

    fn count_out(&mut self, state: &mut State) {
        if std::mem::take(&mut self.counted) {
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
        self.count_out(&mut shared.state());
    }
}
