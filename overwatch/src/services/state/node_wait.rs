//! Knows whether a state's operator waits for the node.
//!
//! An operator is given a handle to the node and may, say, shut it down. But the node stops a
//! service by waiting for its last state to be kept, so while the node stops the service neither
//! could go on. The handle marks its waits here, and the task of the operator looks at the mark.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

tokio::task_local! {
    static WAITS: Arc<AtomicUsize>;
}

/// The waits of one operator.
#[derive(Default)]
pub(super) struct Waits(Arc<AtomicUsize>);

impl Waits {
    /// Runs `future` with its waits counted.
    pub(super) fn count<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        WAITS.scope(Arc::clone(&self.0), future)
    }

    /// Whether it waits for the node now.
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Marks a wait until it is dropped.
#[must_use]
pub(crate) struct Wait(Option<Arc<AtomicUsize>>);

/// Marks that the current task begins to wait for the node.
pub(crate) fn begin() -> Wait {
    let waits = WAITS.try_with(Arc::clone).ok();
    if let Some(waits) = &waits {
        waits.fetch_add(1, Ordering::Relaxed);
    }
    Wait(waits)
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(waits) = &self.0 {
            waits.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
