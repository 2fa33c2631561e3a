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
