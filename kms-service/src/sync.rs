//! What the threads of the service share and wait by, in one place: the model test (`model`) puts a
//! scheduler of its own below the code that takes it from here.

pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, atomic,
};
pub(crate) use std::thread;

use tokio::runtime::Handle;
pub(crate) use tokio::sync::oneshot;

/// Does `work`, which is short, on a thread of the runtime.
pub(crate) fn on_runtime(runtime: &Handle, work: impl FnOnce() + Send + 'static) {
    drop(runtime.spawn(async { work() }));
}

/// The priority of this thread ("nice"): the higher, the later others let it run.
pub(crate) fn niceness() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

/// Sets it. A thread begins with that of who made it, which is often a thread of the same kind.
pub(crate) fn set_niceness(niceness: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, niceness.min(19)) {
        tracing::warn!(%error, "signing does not run at the priority that it should");
    }
}
