//! The threads that call the module.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kms_backend::{BackendError, Failure};
use kms_backend_remote::NewLogin;
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::token::Token;

/// While so many threads hang, no more are started.
pub(crate) const MAX_HUNG: usize = 3;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// How long threads that are at nothing may take to close their sessions.
const FAREWELL: Duration = Duration::from_secs(1);

/// The threads of a backend. They end when this is closed or dropped.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: usize,
    patience: Duration,
}

struct Shared {
    token: Arc<Token>,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// What each thread does; those that were left behind are no longer among them.
    running: Vec<(u64, Option<Instant>)>,
    started: u64,
    /// Those that were left behind and have not come back.
    hung: usize,
    closed: bool,
}

impl Workers {
    /// So many threads, once there is work. One that is kept for longer than `patience` by one job hangs.
    pub(crate) fn new(token: Token, threads: usize, patience: Duration) -> Self {
        let shared = Arc::new(Shared {
            token: Arc::new(token),
            state: Mutex::default(),
            work: Condvar::new(),
        });
        Self { shared, threads, patience }
    }

    /// How many threads were left behind and have not come back.
    pub(crate) fn hung(&self) -> usize {
        self.shared.state().hung
    }

    /// Has a thread do `work`. If that takes too long, the thread is left behind, another takes its
    /// place, and the outcome is unknown.
    ///
    /// # Errors
    /// What `work` says; [`BackendError::Unavailable`] if it took too long, or too many threads hang.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let (reply, answer) = oneshot::channel();
        let anew = NewLogin::is_used();
        {
            let mut state = self.shared.state();
            if state.hung >= MAX_HUNG {
                return Err(failed());
            }
            // Signers may outlive the backend's good-bye.
            state.closed = false;
            while state.running.len() < self.threads
                && Shared::start_thread(&self.shared, &mut state)
            {}
            state.waiting.push_back(Box::new(move |connection| {
                // Nobody may want it any more.
                if !reply.is_closed() {
                    connection.begin(anew);
                    drop(reply.send(work(connection)));
                }
            }));
        }
        self.shared.work.notify_one();
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => answer,
            // A panic, which is only this job's.
            Ok(Err(_)) => Err(unavailable("the module's thread gave up")),
            Err(_) => {
                self.shared.leave_hung(self.patience);
                Err(unavailable(&format!("the module gave no answer within {:?}", self.patience)))
            }
        }
    }
}

impl Workers {
    /// Ends the threads, and waits a moment for their sessions to be closed: some modules don't bear
    /// that while the process ends. A thread that hangs isn't waited for any longer.
    pub(crate) async fn close(&self) {
        self.shared.close();
        let closed = async {
            while !self.shared.state().running.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(FAREWELL, closed).await.is_err() {
            tracing::warn!("the module keeps a thread; it is left behind");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(shared: &Arc<Self>, state: &mut State) -> bool {
        let number = state.started;
        state.started += 1;
        let thread = thread::Builder::new().name("kms-pkcs11".into());
        let own = Arc::clone(shared);
        match thread.spawn(move || own.run(number)) {
            // Never joined: it may hang in the module.
            Ok(_) => state.running.push((number, None)),
            Err(ref error) => tracing::error!(%error, "no thread to call the module on"),
        }
        state.running.last().is_some_and(|(newest, _)| *newest == number)
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.work.notify_all();
    }

    fn run(&self, number: u64) {
        let mut connection = Connection::new(Arc::clone(&self.token));
        while let Some(job) = self.take(number) {
            if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                tracing::error!("a call of the module panicked; its session is given up");
                connection = Connection::new(Arc::clone(&self.token));
            }
        }
        drop(connection);
        let mut state = self.state();
        let before = state.running.len();
        state.running.retain(|(running, _)| *running != number);
        if state.running.len() == before {
            // It was left behind, and has come back from the module after all.
            state.hung = state.hung.saturating_sub(1);
            tracing::warn!(hung = state.hung, "the module has given a thread back");
        }
    }

    /// The next job; none when this thread is to end.
    fn take(&self, number: u64) -> Option<Job> {
        let mut state = self.state();
        loop {
            let me = state.running.iter().position(|(running, _)| *running == number)?;
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.running[me].1 = Some(Instant::now());
                return Some(job);
            }
            state.running[me].1 = None;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Leaves the threads behind that have been at one job for so long – or for most of that, since the
    /// job of who complains has waited a moment – and starts others.
    fn leave_hung(self: &Arc<Self>, patience: Duration) {
        let mut state = self.state();
        let before = state.running.len();
        let is_hung = |since: Instant| since.elapsed() * 4 >= patience * 3;
        state.running.retain(|(_, since)| !since.is_some_and(is_hung));
        let hung = before - state.running.len();
        if hung == 0 {
            return;
        }
        state.hung += hung;
        tracing::error!(hung = state.hung, "the module keeps threads; they are left behind");
        if state.hung >= MAX_HUNG {
            state.waiting.clear();
            return;
        }
        for _ in 0..hung {
            Self::start_thread(self, &mut state);
        }
    }
}

fn failed() -> BackendError {
    unavailable(&format!("the module has kept {MAX_HUNG} threads and is not called any more"))
}

fn unavailable(what: &str) -> BackendError {
    BackendError::Unavailable(Failure::new(what))
}
