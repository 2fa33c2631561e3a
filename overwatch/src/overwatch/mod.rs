//! The node: its handle, its commands and the loop that works them off.

pub mod commands;
pub mod errors;
pub mod handle;
pub mod runner;
pub mod services;

mod line;
mod owned_runtime;

use std::{any::Any, future::Future};

use tokio::task::JoinHandle;

pub use self::{
    errors::Error,
    handle::OverwatchHandle,
    owned_runtime::OverwatchRuntime,
    runner::{GenericOverwatchRunner, OVERWATCH_THREAD_NAME, OverwatchRunner},
    services::Services,
};
pub use crate::DynError;
use crate::utils::finished_signal;

/// The settings of some node.
pub type AnySettings = Box<dyn Any + Send>;

/// A running node.
///
/// Dropping it drops the runtime, if the node made its own, and with it every service. In a
/// runtime of the caller's the services live on.
pub struct Overwatch<RuntimeServiceId> {
    handle: OverwatchHandle<RuntimeServiceId>,
    finished: finished_signal::Receiver,
    // Last, so that it is dropped last.
    runtime: OverwatchRuntime,
}

impl<RuntimeServiceId> Overwatch<RuntimeServiceId> {
    /// The handle of the node.
    #[must_use]
    pub const fn handle(&self) -> &OverwatchHandle<RuntimeServiceId> {
        &self.handle
    }

    /// The runtime of the node; `runtime().handle()` is tokio's handle to it.
    #[must_use]
    pub const fn runtime(&self) -> &OverwatchRuntime {
        &self.runtime
    }

    /// Spawns a task in the runtime of the node.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.handle().spawn(future)
    }

    /// Waits until the node has been shut down.
    ///
    /// Dropping the future drops the node.
    pub async fn wait_finished(self) {
        // An error means that the loop ended without a word, which is an end too.
        let _ = self.finished.await;
    }

    /// [`wait_finished`](Self::wait_finished) for threads outside of any runtime.
    ///
    /// # Panics
    ///
    /// When called inside a runtime, which it would block.
    pub fn blocking_wait_finished(self) {
        let _ = self.finished.blocking_recv();
    }
}
