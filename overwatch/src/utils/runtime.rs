//! The runtime of a node that was not given one.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::overwatch::OVERWATCH_THREAD_NAME;

/// A multi-thread tokio runtime with all drivers, whose threads are named
/// [`OVERWATCH_THREAD_NAME`].
///
/// # Panics
///
/// If the operating system gives no threads or no timer.
#[expect(clippy::expect_used, reason = "the contract's signature has no room for the error")]
#[must_use]
pub fn default_multithread_runtime() -> Runtime {
    try_default_multithread_runtime().expect("the operating system gives a runtime its threads")
}

/// [`default_multithread_runtime`] for those who can report a failure.
pub(crate) fn try_default_multithread_runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_name(OVERWATCH_THREAD_NAME).build()
}
