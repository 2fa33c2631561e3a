//! What the code that `derive_services` generates calls. Not part of the contract.

use std::fmt::Display;

pub use async_trait::async_trait;

use crate::{
    OpaqueServiceRunnerHandle,
    overwatch::{
        Error, OverwatchHandle, Services,
        errors::{ServiceFailure, all_or_failures},
    },
    services::{
        AsServiceId, ServiceCore, ServiceTaskNames,
        lifecycle::{LifecycleMessage, LifecycleNotifier},
        runner::{ServiceNames, ServiceRunner},
        state::{ServiceState, StateOperator},
    },
    utils::finished_signal,
};

/// Sets up a service of a node.
pub fn run_service<Service, RuntimeServiceId>(
    settings: Service::Settings,
    overwatch_handle: &OverwatchHandle<RuntimeServiceId>,
) -> OpaqueServiceRunnerHandle<Service, RuntimeServiceId>
where
    Service: ServiceCore<RuntimeServiceId> + 'static,
    Service::Message: Send + 'static,
    Service::Settings: Clone + Send + Sync + 'static,
    Service::State:
        ServiceState<Settings = Service::Settings, Error: Display> + Clone + Send + Sync + 'static,
    Service::StateOperator: StateOperator<RuntimeServiceId, State = Service::State, LoadError: Display>
        + Clone
        + Send
        + 'static,
    RuntimeServiceId: AsServiceId<Service> + ServiceTaskNames + Display + Clone + Send + 'static,
{
    let id = RuntimeServiceId::SERVICE_ID;
    let names = ServiceNames {
        service: id.to_string(),
        service_task: id.service_task_name(),
        state_task: id.state_task_name(),
    };
    ServiceRunner::new(
        settings,
        overwatch_handle.clone(),
        Service::SERVICE_RELAY_BUFFER_SIZE,
        names,
    )
    .run::<Service>()
}

/// Services to start or stop. It borrows nothing of the node, so that the futures below are
/// `Send` whatever the node is made of.
pub struct Targets(Vec<(String, LifecycleNotifier)>);

impl Targets {
    /// The given services of a node.
    pub fn new<App>(app: &App, ids: &[App::RuntimeServiceId]) -> Self
    where
        App: Services<RuntimeServiceId: Display>,
    {
        let target = |id: &App::RuntimeServiceId| {
            let notifier = app.get_service_lifecycle_notifier(id).clone();
            (id.to_string(), notifier)
        };
        Self(ids.iter().map(target).collect())
    }

    /// Tells all to start, in order, then waits for all.
    pub async fn start(self) -> Result<(), Error> {
        self.each("start", LifecycleMessage::Start).await
    }

    /// Tells all to stop, in order, then waits for all.
    pub async fn stop(self) -> Result<(), Error> {
        self.each("stop", LifecycleMessage::Stop).await
    }

    async fn each(
        self,
        action: &'static str,
        message: fn(finished_signal::Sender) -> LifecycleMessage,
    ) -> Result<(), Error> {
        let mut requests = Vec::new();
        for (service, notifier) in self.0 {
            requests.push((service, notifier.request(message).await));
        }
        let mut failures = Vec::new();
        for (service, request) in requests {
            let result = match request {
                Ok(pending) => pending.done().await,
                Err(gone) => Err(gone.into()),
            };
            if let Err(cause) = result {
                failures.push(ServiceFailure { service, action, cause });
            }
        }
        all_or_failures(failures)
    }
}

/// The error of an id that no service has.
#[must_use]
pub fn unknown_id(unknown: &str, known: &[&str]) -> Error {
    let known = known.join(", ");
    let text = format!("no service has the id `{unknown}`; the services are: {known}");
    Error::Any(text.into())
}
