//! How a service is told to start and stop.

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::failure::SupervisorGone;
use crate::{DynError, utils::finished_signal};

/// Messages that may wait before the one that tells waits. The command loop tells one thing at a
/// time, so more is only ever used by holders of a notifier of their own.
const LIFECYCLE_BUFFER: usize = 4;

/// What a service can be told.
// As upstream has it, so it grows only when upstream's does.
pub enum LifecycleMessage {
    /// To start, and to signal when its `run` has been polled.
    Start(finished_signal::Sender),
    /// To stop, and to signal when it has.
    Stop(finished_signal::Sender),
}

/// The node did not say what came of a command. It has most likely shut down.
// One variant per command, so it grows only when upstream's does.
#[derive(Debug, Error)]
pub enum ServiceLifecycleError {
    /// A service could not be started.
    #[error("could not start the service")]
    Start,
    /// Several services could not be started.
    #[error("could not start the services")]
    StartSequence,
    /// The services could not all be started.
    #[error("could not start all services")]
    StartAll,
    /// A service could not be stopped.
    #[error("could not stop the service")]
    Stop,
    /// Several services could not be stopped.
    #[error("could not stop the services")]
    StopSequence,
    /// The services could not all be stopped.
    #[error("could not stop all services")]
    StopAll,
}

/// Tells one service to start and stop.
#[derive(Clone)]
pub struct LifecycleNotifier {
    sender: mpsc::Sender<Order>,
}

impl LifecycleNotifier {
    /// Tells the service. Returns when it is told, not when it is done; a signal that is dropped
    /// unsent then means failure, and the log has the cause.
    ///
    /// # Errors
    ///
    /// When the node has shut down.
    pub async fn send(&self, message: LifecycleMessage) -> Result<(), DynError> {
        let order = Order::Change { message, failure: None };
        Ok(self.order(order).await?)
    }

    /// Tells the service, and has the cause of a failure told back.
    pub(crate) async fn request(
        &self,
        message: impl FnOnce(finished_signal::Sender) -> LifecycleMessage,
    ) -> Result<Pending, SupervisorGone> {
        let (signal, done) = finished_signal::channel();
        let (slot, failure) = oneshot::channel();
        let order = Order::Change { message: message(signal), failure: Some(slot) };
        self.order(order).await?;
        Ok(Pending { done, failure })
    }

    /// Stops the service for good.
    pub(crate) async fn end(&self) -> Result<(), SupervisorGone> {
        self.order(Order::End).await
    }

    async fn order(&self, order: Order) -> Result<(), SupervisorGone> {
        self.sender.send(order).await.map_err(|_| SupervisorGone)
    }
}

/// Both sides of a service's lifecycle channel.
pub struct LifecycleHandle {
    notifier: LifecycleNotifier,
    orders: mpsc::Receiver<Order>,
}

impl LifecycleHandle {
    /// A new channel.
    #[must_use]
    pub fn new() -> Self {
        let (sender, orders) = mpsc::channel(LIFECYCLE_BUFFER);
        Self { notifier: LifecycleNotifier { sender }, orders }
    }

    /// The side that tells.
    #[must_use]
    pub const fn notifier(&self) -> &LifecycleNotifier {
        &self.notifier
    }

    /// The side that is told. It ends when the last notifier is gone.
    pub(crate) fn into_orders(self) -> mpsc::Receiver<Order> {
        self.orders
    }
}

impl Default for LifecycleHandle {
    fn default() -> Self {
        Self::new()
    }
}

/// What the supervisor of a service is told.
pub(crate) enum Order {
    /// To start or stop, with a slot for the cause of a failure.
    Change { message: LifecycleMessage, failure: Option<oneshot::Sender<DynError>> },
    /// To stop the service for good.
    End,
}

/// An order on its way.
pub(crate) struct Pending {
    done: finished_signal::Receiver,
    failure: oneshot::Receiver<DynError>,
}

impl Pending {
    /// Waits until it is carried out.
    pub(crate) async fn done(mut self) -> Result<(), DynError> {
        match self.done.await {
            Ok(()) => Ok(()),
            // The slot is filled before the signal is dropped.
            Err(_) => Err((self.failure.try_recv()).unwrap_or_else(|_| SupervisorGone.into())),
        }
    }
}
