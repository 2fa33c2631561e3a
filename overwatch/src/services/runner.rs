//! Sets up a service so that it can be told to start.

use std::{fmt::Display, marker::PhantomData};

use tokio::task::JoinHandle;
use tracing::error;

use super::{
    ServiceCore, ServiceData,
    lifecycle::LifecycleHandle,
    relay::Relay,
    service_handle::ServiceHandle,
    settings::SettingsHandle,
    state::{ServiceState, StateOperator as StateOperatorTrait},
    status::StatusHandle,
    supervisor::Supervisor,
};
use crate::{overwatch::OverwatchHandle, task};

/// What a service and its tasks are called, in logs and in tokio-console.
#[derive(Clone, Debug)]
pub struct ServiceNames {
    /// The service.
    pub service: String,
    /// The task that runs it.
    pub service_task: &'static str,
    /// The task that hands its state over.
    pub state_task: &'static str,
}

/// A service that is set up and not yet told anything.
pub struct ServiceRunner<Message, Settings, State, StateOperator, RuntimeServiceId> {
    names: ServiceNames,
    overwatch_handle: OverwatchHandle<RuntimeServiceId>,
    relay: Relay<Message>,
    settings: SettingsHandle<Settings>,
    operator: StateOperator,
    state: PhantomData<fn() -> State>,
}

impl<Message, Settings, State, StateOperator, RuntimeServiceId>
    ServiceRunner<Message, Settings, State, StateOperator, RuntimeServiceId>
where
    Message: Send + 'static,
    Settings: Clone + Send + Sync + 'static,
    State: ServiceState<Settings = Settings, Error: Display> + Clone + Send + Sync + 'static,
    StateOperator: StateOperatorTrait<RuntimeServiceId, State = State, LoadError: Display>
        + Clone
        + Send
        + 'static,
    RuntimeServiceId: Clone + Send + 'static,
{
    /// Makes the relay, and the state's operator, which every start clones.
    #[must_use]
    pub fn new(
        settings: Settings,
        overwatch_handle: OverwatchHandle<RuntimeServiceId>,
        relay_buffer_size: usize,
        names: ServiceNames,
    ) -> Self {
        let operator = StateOperator::from_settings(&settings, overwatch_handle.clone());
        Self {
            names,
            overwatch_handle,
            relay: Relay::new(relay_buffer_size),
            settings: SettingsHandle::new(settings),
            operator,
            state: PhantomData,
        }
    }

    /// Begins to listen for starts and stops, in a task of the node's runtime.
    #[must_use]
    pub fn run<Service>(
        self,
    ) -> ServiceRunnerHandle<Message, Settings, State, StateOperator, RuntimeServiceId>
    where
        Service: ServiceCore<RuntimeServiceId>
            + ServiceData<
                Message = Message,
                Settings = Settings,
                State = State,
                StateOperator = StateOperator,
            > + 'static,
    {
        let lifecycle = LifecycleHandle::new();
        let status = StatusHandle::new();
        let service_handle = ServiceHandle {
            outbound_relay: self.relay.outbound().clone(),
            settings_updater: self.settings.updater().clone(),
            status_watcher: status.watcher(),
            lifecycle_notifier: lifecycle.notifier().clone(),
            kind: PhantomData,
        };
        let runtime = self.overwatch_handle.runtime().clone();
        let service = self.names.service.clone();
        let supervisor = Supervisor::<Service, RuntimeServiceId> {
            names: self.names,
            overwatch_handle: self.overwatch_handle,
            relay: self.relay,
            settings: self.settings,
            status,
            operator: self.operator,
            orders: lifecycle.into_orders(),
            next: None,
        };
        ServiceRunnerHandle {
            supervisor: task::spawn(&runtime, "overwatch-supervisor", supervisor.supervise()),
            service,
            service_handle,
        }
    }
}

/// A service that listens for starts and stops.
pub struct ServiceRunnerHandle<Message, Settings, State, StateOperator, RuntimeServiceId> {
    service: String,
    service_handle: ServiceHandle<Message, Settings, State, StateOperator, RuntimeServiceId>,
    supervisor: JoinHandle<()>,
}

impl<Message, Settings, State, StateOperator, RuntimeServiceId>
    ServiceRunnerHandle<Message, Settings, State, StateOperator, RuntimeServiceId>
{
    /// What the node keeps of the service to speak to it.
    #[must_use]
    pub const fn service_handle(
        &self,
    ) -> &ServiceHandle<Message, Settings, State, StateOperator, RuntimeServiceId> {
        &self.service_handle
    }

    /// Stops the service for good, and waits for it.
    pub async fn teardown(self) {
        // An error means that it has ended before.
        let _ = self.service_handle.lifecycle_notifier().end().await;
        if let Err(failure) = self.supervisor.await
            && failure.is_panic()
        {
            error!(service = %self.service, "the supervisor panicked");
        }
    }
}
