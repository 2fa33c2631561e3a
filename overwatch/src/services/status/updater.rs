//! The side that says the status.

use std::{marker::PhantomData, sync::Arc};

use tokio::sync::watch;

use super::{
    ServiceStatus,
    handle::{ServiceAPI, ServiceRunnerAPI},
};

/// Says the status of a service. `Api` is who says it, and so what may be said: only the service
/// itself can say that it is ready.
pub struct StatusUpdater<Api> {
    sender: Arc<watch::Sender<ServiceStatus>>,
    api: PhantomData<fn() -> Api>,
}

impl<Api> StatusUpdater<Api> {
    pub(super) const fn new(sender: Arc<watch::Sender<ServiceStatus>>) -> Self {
        Self { sender, api: PhantomData }
    }
}

impl StatusUpdater<ServiceAPI> {
    /// The service is ready to serve.
    ///
    /// Said while the service is stopped it has no effect: it comes from a task that a run left
    /// behind, or from `init`, after which the service is `Starting`.
    pub fn notify_ready(&self) {
        self.sender.send_if_modified(|status| {
            let starting = *status == ServiceStatus::Starting;
            if starting {
                *status = ServiceStatus::Ready;
            }
            starting
        });
    }
}

impl StatusUpdater<ServiceRunnerAPI> {
    /// The service's `run` begins.
    pub fn notify_starting(&self) {
        self.sender.send_replace(ServiceStatus::Starting);
    }

    /// The service does not run.
    pub fn notify_stopped(&self) {
        self.sender.send_replace(ServiceStatus::Stopped);
    }
}
