//! The status as its owner, the one that runs the service, holds it.

use std::sync::Arc;

use tokio::sync::watch;

use super::{ServiceStatus, StatusUpdater, StatusWatcher};

/// Marks the [`StatusUpdater`] of a service.
pub enum ServiceAPI {}

/// Marks the [`StatusUpdater`] of the one that runs the service.
pub enum ServiceRunnerAPI {}

/// Makes the updaters and watchers of one service.
pub struct StatusHandle {
    sender: Arc<watch::Sender<ServiceStatus>>,
}

impl StatusHandle {
    /// The status of a service that has not been started.
    #[must_use]
    pub fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(ServiceStatus::Stopped)) }
    }

    /// For the service.
    #[must_use]
    pub fn service_updater(&self) -> StatusUpdater<ServiceAPI> {
        StatusUpdater::new(Arc::clone(&self.sender))
    }

    /// For the one that runs the service.
    #[must_use]
    pub fn runner_updater(&self) -> StatusUpdater<ServiceRunnerAPI> {
        StatusUpdater::new(Arc::clone(&self.sender))
    }

    /// For everybody.
    #[must_use]
    pub fn watcher(&self) -> StatusWatcher {
        StatusWatcher::new(self.sender.subscribe())
    }
}

impl Default for StatusHandle {
    fn default() -> Self {
        Self::new()
    }
}
