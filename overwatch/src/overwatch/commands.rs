//! What a node can be asked for.
//!
//! [`OverwatchHandle`](super::OverwatchHandle) makes these. Those with public fields can be made
//! by hand too and sent through [`OverwatchHandle::send`](super::OverwatchHandle::send); a signal
//! that is dropped unsent then means failure, and the log has the cause.

use tokio::sync::oneshot;

use super::AnySettings;
use crate::{
    services::{relay::AnyMessage, status::StatusWatcher},
    utils::finished_signal,
};

/// Any command.
#[derive(Debug)]
pub enum OverwatchCommand<RuntimeServiceId> {
    /// Asks for a relay.
    Relay(RelayCommand<RuntimeServiceId>),
    /// Asks for a status.
    Status(StatusCommand<RuntimeServiceId>),
    /// Starts or stops services.
    ServiceLifecycle(ServiceLifecycleCommand<RuntimeServiceId>),
    /// About the node as a whole.
    OverwatchManagement(OverwatchManagementCommand<RuntimeServiceId>),
    /// Changes the settings of all services.
    Settings(SettingsCommand),
}

/// Asks for the relay of one service.
#[derive(Debug)]
pub struct RelayCommand<RuntimeServiceId> {
    pub(crate) service_id: RuntimeServiceId,
    pub(crate) reply_channel: ReplyChannel<AnyMessage>,
}

/// Asks for the status watcher of one service.
#[derive(Debug)]
pub struct StatusCommand<RuntimeServiceId> {
    pub(crate) service_id: RuntimeServiceId,
    pub(crate) reply_channel: ReplyChannel<StatusWatcher>,
}

/// Starts or stops services.
#[derive(Debug)]
pub enum ServiceLifecycleCommand<RuntimeServiceId> {
    /// Starts one.
    StartService(ServiceSingleCommand<RuntimeServiceId>),
    /// Starts several, in order.
    StartServiceSequence(ServiceSequenceCommand<RuntimeServiceId>),
    /// Starts all.
    StartAllServices(ServiceAllCommand),
    /// Stops one.
    StopService(ServiceSingleCommand<RuntimeServiceId>),
    /// Stops several, in order.
    StopServiceSequence(ServiceSequenceCommand<RuntimeServiceId>),
    /// Stops all.
    StopAllServices(ServiceAllCommand),
}

/// Concerns one service.
#[derive(Debug)]
pub struct ServiceSingleCommand<RuntimeServiceId> {
    /// The service.
    pub service_id: RuntimeServiceId,
    /// Told when it is done.
    pub sender: finished_signal::Sender,
}

/// Concerns several services.
#[derive(Debug)]
pub struct ServiceSequenceCommand<RuntimeServiceId> {
    /// The services, in the order of the commands to them.
    pub service_ids: Vec<RuntimeServiceId>,
    /// Told when all is done.
    pub sender: finished_signal::Sender,
}

/// Concerns all services.
#[derive(Debug)]
pub struct ServiceAllCommand {
    /// Told when all is done.
    pub sender: finished_signal::Sender,
}

/// About the node as a whole.
#[derive(Debug)]
pub enum OverwatchManagementCommand<RuntimeServiceId> {
    /// Asks for the ids of all services.
    RetrieveServiceIds(ReplyChannel<Vec<RuntimeServiceId>>),
    /// Stops all services and ends the node.
    Shutdown(finished_signal::Sender),
}

/// New settings for all services: a boxed [`Services::Settings`](super::Services::Settings).
#[derive(Debug)]
pub struct SettingsCommand(pub(crate) AnySettings);

/// Where the answer to one question goes.
#[derive(Debug)]
pub struct ReplyChannel<M>(oneshot::Sender<M>);

impl<M> ReplyChannel<M> {
    /// Answers.
    ///
    /// # Errors
    ///
    /// Gives the answer back when nobody waits for it any more.
    pub fn reply(self, message: M) -> Result<(), M> {
        self.0.send(message)
    }
}

impl<M> From<oneshot::Sender<M>> for ReplyChannel<M> {
    fn from(sender: oneshot::Sender<M>) -> Self {
        Self(sender)
    }
}
