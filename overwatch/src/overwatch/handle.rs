//! The handle through which a node is asked and told.

use std::fmt::{self, Debug, Display, Formatter};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tracing::{debug, error};

use super::{
    Error, Services,
    commands::{
        OverwatchCommand, OverwatchManagementCommand, RelayCommand, ServiceAllCommand,
        ServiceLifecycleCommand, ServiceSequenceCommand, ServiceSingleCommand, SettingsCommand,
        StatusCommand,
    },
    errors::OverwatchManagementError,
    line::{Gone, Line},
};
use crate::{
    services::{
        AsServiceId, ServiceData,
        lifecycle::ServiceLifecycleError,
        relay::{OutboundRelay, RelayError},
        status::StatusWatcher,
    },
    utils::finished_signal,
};

/// A handle to a node. Clones are cheap and all speak to the same node.
///
/// The node works off one command at a time. A command waits for those before it, so a service's
/// `init`, during which the node waits, must not wait for an answer to one.
///
/// Dropping a future of this handle gives up the answer; a command that was sent is carried out
/// all the same.
pub struct OverwatchHandle<RuntimeServiceId> {
    runtime: Handle,
    line: Line<RuntimeServiceId>,
}

impl<RuntimeServiceId> OverwatchHandle<RuntimeServiceId> {
    /// A handle that sends its commands into a channel of the caller's.
    ///
    /// Over such a channel a failure has no cause, since a command only carries a signal.
    #[must_use]
    pub const fn new(
        runtime: Handle,
        sender: mpsc::Sender<OverwatchCommand<RuntimeServiceId>>,
    ) -> Self {
        Self { runtime, line: Line::Plain(sender) }
    }

    /// The handle of the node behind `line`.
    pub(crate) const fn on(runtime: Handle, line: Line<RuntimeServiceId>) -> Self {
        Self { runtime, line }
    }

    /// The runtime that the services run in.
    #[must_use]
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl<RuntimeServiceId> OverwatchHandle<RuntimeServiceId>
where
    RuntimeServiceId: Debug + Display + Sync,
{
    /// The relay of a service. It stays good for the life of the node, whether the service runs
    /// or not.
    ///
    /// # Errors
    ///
    /// When the node has shut down.
    pub async fn relay<Service>(&self) -> Result<OutboundRelay<Service::Message>, RelayError>
    where
        Service: ServiceData<Message: 'static>,
        RuntimeServiceId: AsServiceId<Service>,
    {
        let (reply, answer) = oneshot::channel();
        let command = OverwatchCommand::Relay(RelayCommand {
            service_id: RuntimeServiceId::SERVICE_ID,
            reply_channel: reply.into(),
        });
        let relay = self.line.ask(command, answer).await.map_err(|gone| match gone {
            Gone::Unsent => RelayError::Send,
            Gone::Unanswered(error) => RelayError::Receiver(Box::new(error)),
        })?;
        relay
            .downcast()
            .map(|relay| *relay)
            .map_err(|_| RelayError::Receiver(Box::new("the relay carries other messages")))
    }

    /// The status of a service, to look at and to wait for.
    ///
    /// When the node has shut down, it is a status that stays `Stopped`.
    pub async fn status_watcher<Service>(&self) -> StatusWatcher
    where
        RuntimeServiceId: AsServiceId<Service>,
    {
        let (reply, answer) = oneshot::channel();
        let command = OverwatchCommand::Status(StatusCommand {
            service_id: RuntimeServiceId::SERVICE_ID,
            reply_channel: reply.into(),
        });
        self.line.ask(command, answer).await.unwrap_or_else(|_| {
            debug!(
                service = %RuntimeServiceId::SERVICE_ID,
                "the node is gone, so the service is stopped"
            );
            StatusWatcher::stopped()
        })
    }

    /// Starts a service and waits until its `run` has been polled for the first time. Does
    /// nothing when it runs already.
    ///
    /// # Errors
    ///
    /// When the service could not be started. What its `init` returned is among the
    /// [sources](std::error::Error::source).
    pub async fn start_service<Service>(&self) -> Result<(), Error>
    where
        RuntimeServiceId: AsServiceId<Service>,
    {
        let (sender, done) = finished_signal::channel();
        let command = ServiceLifecycleCommand::StartService(ServiceSingleCommand {
            service_id: RuntimeServiceId::SERVICE_ID,
            sender,
        });
        self.lifecycle(command, done, ServiceLifecycleError::Start).await
    }

    /// Stops a service and waits until its future is dropped and its last state handed over.
    /// Does nothing when it is stopped already.
    ///
    /// The service is stopped at its next await; one that never awaits is never stopped.
    ///
    /// # Errors
    ///
    /// When the node has shut down.
    pub async fn stop_service<Service>(&self) -> Result<(), Error>
    where
        RuntimeServiceId: AsServiceId<Service>,
    {
        let (sender, done) = finished_signal::channel();
        let command = ServiceLifecycleCommand::StopService(ServiceSingleCommand {
            service_id: RuntimeServiceId::SERVICE_ID,
            sender,
        });
        self.lifecycle(command, done, ServiceLifecycleError::Stop).await
    }

    /// Tells every service to start, in order, then waits for all.
    ///
    /// The second does not wait for the first: where that matters, await
    /// [`start_service`](Self::start_service) one by one.
    ///
    /// # Errors
    ///
    /// Names every service that could not be started. The others run on.
    pub async fn start_service_sequence(
        &self,
        services: impl IntoIterator<Item = RuntimeServiceId>,
    ) -> Result<(), Error> {
        let (sender, done) = finished_signal::channel();
        let command = ServiceLifecycleCommand::StartServiceSequence(ServiceSequenceCommand {
            service_ids: services.into_iter().collect(),
            sender,
        });
        self.lifecycle(command, done, ServiceLifecycleError::StartSequence).await
    }

    /// Tells every service to stop, in order, then waits for all.
    ///
    /// # Errors
    ///
    /// When the node has shut down.
    pub async fn stop_service_sequence(
        &self,
        services: impl IntoIterator<Item = RuntimeServiceId>,
    ) -> Result<(), Error> {
        let (sender, done) = finished_signal::channel();
        let command = ServiceLifecycleCommand::StopServiceSequence(ServiceSequenceCommand {
            service_ids: services.into_iter().collect(),
            sender,
        });
        self.lifecycle(command, done, ServiceLifecycleError::StopSequence).await
    }

    /// [`start_service_sequence`](Self::start_service_sequence) of all services.
    ///
    /// # Errors
    ///
    /// Names every service that could not be started. The others run on.
    pub async fn start_all_services(&self) -> Result<(), Error> {
        let (sender, done) = finished_signal::channel();
        let command = ServiceLifecycleCommand::StartAllServices(ServiceAllCommand { sender });
        self.lifecycle(command, done, ServiceLifecycleError::StartAll).await
    }

    /// [`stop_service_sequence`](Self::stop_service_sequence) of all services.
    ///
    /// # Errors
    ///
    /// When the node has shut down.
    pub async fn stop_all_services(&self) -> Result<(), Error> {
        let (sender, done) = finished_signal::channel();
        let command = ServiceLifecycleCommand::StopAllServices(ServiceAllCommand { sender });
        self.lifecycle(command, done, ServiceLifecycleError::StopAll).await
    }

    /// Stops all services and ends the node. A service may call it from its `run`; it is then
    /// stopped while it waits here.
    ///
    /// # Errors
    ///
    /// When the node has shut down before, or when a service did not stop as it should. The node
    /// ends all the same.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let (sender, done) = finished_signal::channel();
        let command =
            OverwatchCommand::OverwatchManagement(OverwatchManagementCommand::Shutdown(sender));
        self.complete(command, done, OverwatchManagementError::Shutdown).await
    }

    /// The ids of all services.
    ///
    /// # Errors
    ///
    /// When the node has shut down.
    pub async fn retrieve_service_ids(&self) -> Result<Vec<RuntimeServiceId>, Error> {
        let (reply, answer) = oneshot::channel();
        let command = OverwatchCommand::OverwatchManagement(
            OverwatchManagementCommand::RetrieveServiceIds(reply.into()),
        );
        self.line
            .ask(command, answer)
            .await
            .map_err(|_| OverwatchManagementError::RetrieveServiceIds.into())
    }

    /// Sends a command made by hand. Returns when it is queued, not when it is done.
    ///
    /// # Errors
    ///
    /// Gives the command back when the node has shut down.
    pub async fn send(
        &self,
        command: OverwatchCommand<RuntimeServiceId>,
    ) -> Result<(), mpsc::error::SendError<OverwatchCommand<RuntimeServiceId>>> {
        self.line.send(command).await
    }

    /// Gives all services of the node `App` new settings. A service takes them when it next looks
    /// at its [`SettingsNotifier`](crate::services::settings::SettingsNotifier), or at its next
    /// start.
    ///
    /// When the node has shut down, or is not an `App`, nothing changes but the log.
    pub async fn update_settings<App>(&self, settings: App::Settings)
    where
        App: Services<Settings: Send + 'static>,
    {
        let command = OverwatchCommand::Settings(SettingsCommand(Box::new(settings)));
        if self.send(command).await.is_err() {
            error!("the node is gone, so its settings could not be updated");
        }
    }

    async fn lifecycle(
        &self,
        command: ServiceLifecycleCommand<RuntimeServiceId>,
        done: finished_signal::Receiver,
        without_cause: ServiceLifecycleError,
    ) -> Result<(), Error> {
        self.complete(OverwatchCommand::ServiceLifecycle(command), done, without_cause).await
    }

    /// Sends a command and waits for its end.
    async fn complete(
        &self,
        command: OverwatchCommand<RuntimeServiceId>,
        done: finished_signal::Receiver,
        without_cause: impl Into<Error>,
    ) -> Result<(), Error> {
        (self.line.complete(command, done).await)
            .map_err(|cause| cause.unwrap_or_else(|| without_cause.into()))
    }
}

// By hand: derives would ask the same of the ids.
impl<RuntimeServiceId> Clone for OverwatchHandle<RuntimeServiceId> {
    fn clone(&self) -> Self {
        Self { runtime: self.runtime.clone(), line: self.line.clone() }
    }
}

impl<RuntimeServiceId> Debug for OverwatchHandle<RuntimeServiceId> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverwatchHandle").finish_non_exhaustive()
    }
}
