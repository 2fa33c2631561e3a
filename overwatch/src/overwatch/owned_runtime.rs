//! The runtime of a node, its own or the caller's.

use tokio::runtime::{Handle, Runtime};

/// The runtime of a node.
pub struct OverwatchRuntime {
    handle: Handle,
    /// Only what the node made itself is its to end.
    own: Option<Runtime>,
}

impl OverwatchRuntime {
    /// Tokio's handle to the runtime.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl From<Runtime> for OverwatchRuntime {
    fn from(runtime: Runtime) -> Self {
        Self { handle: runtime.handle().clone(), own: Some(runtime) }
    }
}

impl From<Handle> for OverwatchRuntime {
    fn from(handle: Handle) -> Self {
        Self { handle, own: None }
    }
}

impl Drop for OverwatchRuntime {
    fn drop(&mut self) {
        // Tokio panics when a runtime is dropped, and so waited for, inside another one.
        if Handle::try_current().is_ok()
            && let Some(runtime) = self.own.take()
        {
            runtime.shutdown_background();
        }
    }
}
