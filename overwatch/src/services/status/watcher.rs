//! The side that looks at the status.

use std::time::Duration;

use tokio::{sync::watch, time};

use super::ServiceStatus;

/// Looks at the status of a service.
#[derive(Clone, Debug)]
pub struct StatusWatcher {
    receiver: watch::Receiver<ServiceStatus>,
}

impl StatusWatcher {
    pub(super) const fn new(receiver: watch::Receiver<ServiceStatus>) -> Self {
        Self { receiver }
    }

    /// A service that will not run any more.
    pub(crate) fn stopped() -> Self {
        Self::new(watch::channel(ServiceStatus::Stopped).1)
    }

    /// The status now.
    #[must_use]
    pub fn current(&self) -> ServiceStatus {
        *self.receiver.borrow()
    }

    /// The channel behind it, for whoever wants to see every change.
    pub const fn receiver_mut(&mut self) -> &mut watch::Receiver<ServiceStatus> {
        &mut self.receiver
    }

    /// Waits for a status; without a time limit perhaps for ever. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The status seen when called, when the time is over or the service has ended with its node.
    ///
    /// # Panics
    ///
    /// With a time limit, in a runtime without a timer.
    pub async fn wait_for(
        &mut self,
        status: ServiceStatus,
        within: Option<Duration>,
    ) -> Result<ServiceStatus, ServiceStatus> {
        let seen = self.current();
        let arrival = self.receiver.wait_for(|current| *current == status);
        let arrived = match within {
            Some(within) => match time::timeout(within, arrival).await {
                Ok(arrived) => arrived.is_ok(),
                Err(_) => false,
            },
            None => arrival.await.is_ok(),
        };
        if arrived { Ok(status) } else { Err(seen) }
    }
}
