//! The loop that works off the commands of a node.

use std::{fmt::Debug, marker::PhantomData};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tracing::{debug, error, info, trace};

use super::{
    Error, Overwatch, OverwatchHandle, OverwatchRuntime, Services,
    commands::{
        OverwatchCommand, OverwatchManagementCommand, ServiceLifecycleCommand, SettingsCommand,
    },
    errors::Chain,
    line::{Envelope, Line},
};
use crate::{
    DynError, task,
    utils::{finished_signal, runtime::try_default_multithread_runtime},
};

/// The name of the threads of a runtime that a node made itself.
pub const OVERWATCH_THREAD_NAME: &str = "Overwatch";

/// Commands that may wait before a sender waits. Commands are rare and each is answered, so this
/// only has to be enough for every service of a node to ask at once.
const COMMAND_BUFFER: usize = 16;

/// Runs the node `App`.
pub type OverwatchRunner<App> = GenericOverwatchRunner<App, <App as Services>::RuntimeServiceId>;

/// [`OverwatchRunner`] with the ids spelled out.
pub struct GenericOverwatchRunner<App, RuntimeServiceId> {
    services: App,
    ids: PhantomData<fn() -> RuntimeServiceId>,
}

impl<App, RuntimeServiceId> GenericOverwatchRunner<App, RuntimeServiceId>
where
    App: Services<RuntimeServiceId = RuntimeServiceId> + Send + 'static,
    RuntimeServiceId: Clone + Debug + Send + 'static,
{
    /// Sets the node up and begins to take commands. No service is started.
    ///
    /// With `None` the node gets a multi-thread runtime of its own.
    ///
    /// # Errors
    ///
    /// When the runtime cannot be made, or [`Services::new`] fails.
    pub fn run(
        settings: App::Settings,
        handle: Option<Handle>,
    ) -> Result<Overwatch<RuntimeServiceId>, DynError> {
        let runtime: OverwatchRuntime = match handle {
            Some(handle) => handle.into(),
            None => try_default_multithread_runtime()?.into(),
        };
        let (sender, inbox) = mpsc::channel(COMMAND_BUFFER);
        let handle = OverwatchHandle::on(runtime.handle().clone(), Line::Node(sender));
        let runner = {
            let _inside = runtime.handle().enter();
            Self { services: App::new(settings, handle.clone())?, ids: PhantomData }
        };
        let (signal, finished) = finished_signal::channel();
        task::spawn(runtime.handle(), "overwatch-commands", runner.work(inbox, signal));
        Ok(Overwatch { handle, finished, runtime })
    }

    async fn work(
        mut self,
        mut inbox: mpsc::Receiver<Envelope<RuntimeServiceId>>,
        finished: finished_signal::Sender,
    ) {
        while let Some(Envelope { command, failure }) = inbox.recv().await {
            trace!(?command, "command");
            match command {
                OverwatchCommand::OverwatchManagement(OverwatchManagementCommand::Shutdown(
                    done,
                )) => {
                    // Whoever asks from now on learns at once that nobody is here.
                    inbox.close();
                    report(self.shut_down().await, done, failure);
                    // Last: whoever waits for it may drop the runtime, and the answer with it.
                    let _ = finished.send(());
                    return;
                }
                command => self.carry_out(command, failure).await,
            }
        }
    }

    #[cfg_attr(
        feature = "instrumentation",
        tracing::instrument(name = "overwatch.command", skip_all)
    )]
    async fn carry_out(
        &mut self,
        command: OverwatchCommand<RuntimeServiceId>,
        failure: Option<oneshot::Sender<Error>>,
    ) {
        match command {
            OverwatchCommand::Relay(command) => {
                let relay = self.services.request_relay(&command.service_id);
                if command.reply_channel.reply(relay).is_err() {
                    debug!("nobody waits for the relay any more");
                }
            }
            OverwatchCommand::Status(command) => {
                let watcher = self.services.request_status_watcher(&command.service_id);
                if command.reply_channel.reply(watcher).is_err() {
                    debug!("nobody waits for the status any more");
                }
            }
            OverwatchCommand::OverwatchManagement(
                OverwatchManagementCommand::RetrieveServiceIds(reply),
            ) => {
                if reply.reply(self.services.ids()).is_err() {
                    debug!("nobody waits for the ids any more");
                }
            }
            OverwatchCommand::Settings(SettingsCommand(settings)) => {
                match settings.downcast::<App::Settings>() {
                    Ok(settings) => self.services.update_settings(*settings),
                    Err(_) => error!("settings of another node were sent to this one"),
                }
            }
            OverwatchCommand::ServiceLifecycle(command) => {
                let (result, done) = self.change(command).await;
                report(result, done, failure);
            }
            // Taken by the loop, which it ends.
            OverwatchCommand::OverwatchManagement(OverwatchManagementCommand::Shutdown(_)) => {}
        }
    }

    async fn change(
        &mut self,
        command: ServiceLifecycleCommand<RuntimeServiceId>,
    ) -> (Result<(), Error>, finished_signal::Sender) {
        use ServiceLifecycleCommand as Command;
        let services = &mut self.services;
        match command {
            Command::StartService(one) => (services.start(&one.service_id).await, one.sender),
            Command::StartServiceSequence(some) => {
                (services.start_sequence(&some.service_ids).await, some.sender)
            }
            Command::StartAllServices(all) => (services.start_all().await, all.sender),
            Command::StopService(one) => (services.stop(&one.service_id).await, one.sender),
            Command::StopServiceSequence(some) => {
                (services.stop_sequence(&some.service_ids).await, some.sender)
            }
            Command::StopAllServices(all) => (services.stop_all().await, all.sender),
        }
    }

    /// Tears down even when a service did not stop: nobody could try again.
    async fn shut_down(mut self) -> Result<(), Error> {
        info!("shutting down");
        let stopped = self.services.stop_all().await;
        let torn_down = self.services.teardown().await;
        stopped.and(torn_down)
    }
}

/// Tells whoever sent a command how it went.
fn report(
    result: Result<(), Error>,
    done: finished_signal::Sender,
    failure: Option<oneshot::Sender<Error>>,
) {
    match result {
        Ok(()) => {
            if done.send(()).is_err() {
                debug!("nobody waits for the end of the command any more");
            }
        }
        // The cause first: `done` is dropped at the end of this function, and who waits for it
        // then looks into the slot.
        Err(cause) => {
            let unheard = match failure {
                Some(slot) => slot.send(cause).err(),
                None => Some(cause),
            };
            if let Some(cause) = unheard {
                error!("command failed: {}", Chain(&cause));
            }
        }
    }
}
