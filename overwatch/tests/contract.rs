//! Names every path of the contract, and asks of every type what the contract promises of it.
//!
//! Nothing here runs: that it compiles is the test.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "nothing here runs"
)]

use std::{
    any::Any,
    convert::Infallible,
    error::Error as StdError,
    fmt::{Debug, Display},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures::{Sink, Stream};
use overwatch::{
    DynError, OpaqueServiceHandle, OpaqueServiceResourcesHandle, OpaqueServiceRunner,
    OpaqueServiceRunnerHandle,
    overwatch::{
        AnySettings, Error, GenericOverwatchRunner, OVERWATCH_THREAD_NAME, Overwatch,
        OverwatchHandle, OverwatchRunner, Services,
        commands::{
            OverwatchCommand, OverwatchManagementCommand, RelayCommand, ReplyChannel,
            ServiceAllCommand, ServiceLifecycleCommand, ServiceSequenceCommand,
            ServiceSingleCommand, SettingsCommand, StatusCommand,
        },
        errors::OverwatchManagementError,
    },
    services::{
        AsServiceId, ServiceCore, ServiceData, ServiceTaskNames,
        lifecycle::{LifecycleHandle, LifecycleMessage, LifecycleNotifier, ServiceLifecycleError},
        relay::{AnyMessage, InboundRelay, OutboundRelay, Relay, RelayError},
        resources::ServiceResourcesHandle,
        runner::{ServiceRunner, ServiceRunnerHandle},
        service_handle::ServiceHandle,
        settings::{SettingsHandle, SettingsNotifier, SettingsUpdater},
        state::{
            NoOperator, NoState, ServiceState, StateHandle, StateOperator, StateUpdater,
            StateWatcher,
        },
        status::{
            ServiceStatus, StatusHandle, StatusUpdater, StatusWatcher,
            handle::{ServiceAPI, ServiceRunnerAPI},
            service_status::ServiceStatus as SameServiceStatus,
        },
    },
    utils::{finished_signal, runtime::default_multithread_runtime},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// Implements nothing.
struct Bare;

fn is_clone<T: Clone>() {}
fn is_debug<T: Debug>() {}
fn is_error<T: StdError + Send + Sync + 'static>() {}
fn is_send<T: Send>(_: &T) {}
fn same<T>(_: T, _: T) {}

fn traits() {
    is_clone::<OverwatchHandle<Bare>>();
    is_debug::<OverwatchHandle<Bare>>();
    is_clone::<OutboundRelay<Bare>>();
    is_debug::<InboundRelay<Bare>>();
    is_clone::<NoState<Bare>>();
    is_clone::<NoOperator<NoState<Bare>>>();
    is_send(&None::<NoOperator<NoState<*const ()>>>);
    is_clone::<StateUpdater<Bare>>();
    is_clone::<SettingsHandle<Bare>>();
    is_clone::<SettingsNotifier<Bare>>();
    is_clone::<SettingsUpdater<Bare>>();
    is_clone::<StatusWatcher>();
    is_debug::<StatusWatcher>();
    is_clone::<LifecycleNotifier>();

    is_debug::<OverwatchCommand<u8>>();
    is_debug::<RelayCommand<u8>>();
    is_debug::<StatusCommand<u8>>();
    is_debug::<ServiceLifecycleCommand<u8>>();
    is_debug::<ServiceSingleCommand<u8>>();
    is_debug::<ServiceSequenceCommand<u8>>();
    is_debug::<ServiceAllCommand>();
    is_debug::<OverwatchManagementCommand<u8>>();
    is_debug::<SettingsCommand>();
    is_debug::<ReplyChannel<u8>>();

    is_error::<Error>();
    is_error::<OverwatchManagementError>();
    is_error::<ServiceLifecycleError>();
    is_error::<RelayError>();

    fn is_status<T: Copy + Eq + Debug + Display>() {}
    is_status::<ServiceStatus>();
    fn is_stream<T: Stream<Item = u8>>() {}
    is_stream::<InboundRelay<u8>>();
    fn is_signal<T>(_: fn(T)) {}
    is_signal::<finished_signal::Signal>(|()| ());
    same::<Option<finished_signal::Sender>>(None, None::<oneshot::Sender<()>>);
    same::<Option<finished_signal::Receiver>>(None, None::<oneshot::Receiver<()>>);
    same::<Option<AnySettings>>(None, None::<Box<dyn Any + Send>>);
    same::<Option<AnyMessage>>(None, None::<Box<dyn Any + Send>>);
    same::<Option<DynError>>(None, None::<Box<dyn StdError + Send + Sync + 'static>>);
    same::<Option<ServiceStatus>>(None, None::<SameServiceStatus>);
    let _: (Option<StatusHandle>, Option<LifecycleHandle>, Option<Relay<Bare>>) =
        (None, None, None);
    let _: (Option<StateHandle<Bare, Bare>>, Option<StateWatcher<Bare>>) = (None, None);
    let _: &str = OVERWATCH_THREAD_NAME;
}

fn aliases<S: ServiceData, Id>() {
    same::<Option<OpaqueServiceRunner<S, Id>>>(
        None,
        None::<ServiceRunner<S::Message, S::Settings, S::State, S::StateOperator, Id>>,
    );
    same::<Option<OpaqueServiceHandle<S, Id>>>(
        None,
        None::<ServiceHandle<S::Message, S::Settings, S::State, S::StateOperator, Id>>,
    );
    same::<Option<OpaqueServiceRunnerHandle<S, Id>>>(
        None,
        None::<ServiceRunnerHandle<S::Message, S::Settings, S::State, S::StateOperator, Id>>,
    );
    same::<Option<OpaqueServiceResourcesHandle<S, Id>>>(
        None,
        None::<ServiceResourcesHandle<S::Message, S::Settings, S::State, Id>>,
    );
}

fn errors(error: DynError) -> Error {
    let _: [Error; 3] = [
        Error::from(error),
        ServiceLifecycleError::StartAll.into(),
        OverwatchManagementError::RetrieveServiceIds.into(),
    ];
    let Error::Any(error) = Error::from(OverwatchManagementError::Shutdown);
    match ServiceLifecycleError::Start {
        ServiceLifecycleError::Start
        | ServiceLifecycleError::StartSequence
        | ServiceLifecycleError::StartAll
        | ServiceLifecycleError::Stop
        | ServiceLifecycleError::StopSequence
        | ServiceLifecycleError::StopAll => Error::Any(error),
    }
}

/// The bounds are those of the contract and no more.
async fn handle<Id, Service, App>(handle: OverwatchHandle<Id>, ids: Vec<Id>, app: App::Settings)
where
    Id: Debug + Display + Sync + AsServiceId<Service>,
    Service: ServiceData,
    Service::Message: 'static,
    App: Services,
    App::Settings: Send + 'static,
{
    let _: Result<OutboundRelay<Service::Message>, RelayError> = handle.relay::<Service>().await;
    let _: StatusWatcher = handle.status_watcher::<Service>().await;
    let _: Result<(), Error> = handle.start_service::<Service>().await;
    let _: Result<(), Error> = handle.stop_service::<Service>().await;
    let _: Result<(), Error> = handle.start_service_sequence(ids).await;
    let _: Result<(), Error> = handle.stop_service_sequence([Id::SERVICE_ID]).await;
    let _: Result<(), Error> = handle.start_all_services().await;
    let _: Result<(), Error> = handle.stop_all_services().await;
    let _: Result<(), Error> = handle.shutdown().await;
    let _: Result<Vec<Id>, Error> = handle.retrieve_service_ids().await;
    let (sender, _) = finished_signal::channel();
    let command = OverwatchManagementCommand::Shutdown(sender);
    let _: Result<(), mpsc::error::SendError<OverwatchCommand<Id>>> =
        handle.send(OverwatchCommand::OverwatchManagement(command)).await;
    handle.update_settings::<App>(app).await;
}

async fn node<App>(settings: App::Settings)
where
    App: Services + Send + 'static,
    App::RuntimeServiceId: Clone + Debug + Send,
{
    let node: Result<Overwatch<App::RuntimeServiceId>, DynError> =
        OverwatchRunner::<App>::run(settings, None::<Handle>);
    same::<Option<OverwatchRunner<App>>>(
        None,
        None::<GenericOverwatchRunner<App, App::RuntimeServiceId>>,
    );
    let node = node.unwrap();
    let handle: &OverwatchHandle<App::RuntimeServiceId> = node.handle();
    let _: &Handle = handle.runtime();
    let _: &Handle = node.runtime().handle();
    let task: JoinHandle<u8> = node.spawn(async { 1 });
    task.abort();
    let end: fn(Overwatch<App::RuntimeServiceId>) = Overwatch::blocking_wait_finished;
    let _ = end;
    node.wait_finished().await;
    let _ = default_multithread_runtime().handle();
}

async fn channels(sender: mpsc::Sender<u8>, mut inbound: InboundRelay<u8>, resources: Resources) {
    let relay = OutboundRelay::new(sender);
    let _: Result<(), (RelayError, u8)> = relay.send(1).await;
    let _: Result<(), (RelayError, u8)> = relay.blocking_send(1);
    fn is_sink<T: Sink<u8>>(_: T) {}
    is_sink(relay.into_sink());
    let _: Option<u8> = inbound.recv().await;
    match RelayError::AlreadyConnected {
        RelayError::Send | RelayError::AlreadyConnected => {}
        RelayError::Receiver(inner) => drop::<Box<dyn Debug + Send + Sync>>(inner),
    }
    let _: Result<(), u8> = ReplyChannel::from(oneshot::channel::<u8>().0).reply(1);

    // Fields are moved out, one by one.
    let ServiceResourcesHandle {
        inbound_relay: InboundRelay::<u8> { .. },
        status_updater,
        overwatch_handle: OverwatchHandle::<u8> { .. },
        settings_handle,
        state_updater,
    } = resources;
    let service: StatusUpdater<ServiceAPI> = status_updater;
    service.notify_ready();
    let runner: fn(&StatusUpdater<ServiceRunnerAPI>) = StatusUpdater::notify_starting;
    same(runner, StatusUpdater::notify_stopped);
    let updater: StateUpdater<Option<u16>> = state_updater;
    updater.update(Some(1));
    StateUpdater::new(Arc::new(watch::channel(Bare).0)).update(Bare);
    let settings: SettingsHandle<u32> = settings_handle;
    settings.updater().update(SettingsHandle::new(1).notifier().get_updated_settings());
}

type Resources = ServiceResourcesHandle<u8, u32, u16, u8>;

async fn status(mut watcher: StatusWatcher) {
    let _: ServiceStatus = watcher.current();
    let _: &mut watch::Receiver<ServiceStatus> = watcher.receiver_mut();
    let _: Result<ServiceStatus, ServiceStatus> =
        watcher.wait_for(ServiceStatus::Ready, Some(Duration::ZERO)).await;
}

async fn lifecycle(notifier: &LifecycleNotifier) {
    let message: fn(finished_signal::Sender) -> LifecycleMessage = LifecycleMessage::Start;
    let (sender, _) = finished_signal::channel();
    let _: Result<(), DynError> = notifier.send(message(sender)).await;
    let (sender, _) = finished_signal::channel();
    let _: Result<(), DynError> = notifier.send(LifecycleMessage::Stop(sender)).await;
}

fn names(id: &impl ServiceTaskNames) -> [&'static str; 2] {
    [id.service_task_name(), id.state_task_name()]
}

fn states<Id, Settings>(settings: &Settings, handle: OverwatchHandle<Id>) {
    let state: Result<NoState<Settings>, DynError> = NoState::from_settings(settings);
    let loaded: Result<Option<NoState<Settings>>, Infallible> =
        <NoOperator<NoState<Settings>> as StateOperator<Id>>::try_load(settings);
    let operator: NoOperator<NoState<Settings>> =
        StateOperator::<Id>::from_settings(settings, handle);
    let _ = (state.is_ok(), loaded.is_ok(), operator);
}

/// A service as demanding as the contract allows: nothing is `Sync`, `Debug` or `Clone` that need
/// not be.
struct Demanding(std::rc::Weak<()>);

/// Neither `Clone` nor `Sync`.
struct Message(std::cell::Cell<u8>);

#[derive(Clone)]
struct State;

/// `Clone` but not `Sync`.
#[derive(Clone)]
struct Operator(std::cell::Cell<u8>);

impl ServiceState for State {
    type Settings = u32;
    type Error = &'static str;

    fn from_settings(_settings: &u32) -> Result<Self, &'static str> {
        Ok(Self)
    }
}

#[async_trait]
impl<Id> StateOperator<Id> for Operator {
    type State = State;
    type LoadError = std::rc::Rc<str>;

    fn try_load(_settings: &u32) -> Result<Option<State>, Self::LoadError> {
        Ok(None)
    }

    fn from_settings(_settings: &u32, _overwatch_handle: OverwatchHandle<Id>) -> Self {
        Self(std::cell::Cell::default())
    }

    async fn run(&mut self, _state: State) {}
}

impl ServiceData for Demanding {
    type Settings = u32;
    type State = State;
    type StateOperator = Operator;
    type Message = Message;
}

impl<Id> ServiceCore<Id> for Demanding {
    fn init(
        _resources: OpaqueServiceResourcesHandle<Self, Id>,
        _state: State,
    ) -> Result<Self, DynError> {
        Ok(Self(std::rc::Weak::new()))
    }

    fn run<'a>(self) -> std::pin::Pin<Box<dyn Future<Output = Result<(), DynError>> + Send + 'a>>
    where
        Self: 'a,
    {
        drop(self.0);
        Box::pin(async { Ok(()) })
    }
}

/// A hand-written node is possible too, with all that the trait asks for and nothing else.
struct ByHand;

#[async_trait]
impl Services for ByHand {
    type Settings = Bare;
    type RuntimeServiceId = u8;

    fn new(_: Bare, _: OverwatchHandle<u8>) -> Result<Self, DynError> {
        Ok(Self)
    }
    async fn start(&mut self, _: &u8) -> Result<(), Error> {
        Ok(())
    }
    async fn start_sequence(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    async fn start_all(&mut self) -> Result<(), Error> {
        Ok(())
    }
    async fn stop(&mut self, _: &u8) -> Result<(), Error> {
        Ok(())
    }
    async fn stop_sequence(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    async fn stop_all(&mut self) -> Result<(), Error> {
        Ok(())
    }
    async fn teardown(self) -> Result<(), Error> {
        Ok(())
    }
    fn ids(&self) -> Vec<u8> {
        Vec::new()
    }
    fn request_relay(&mut self, _: &u8) -> AnyMessage {
        Box::new(())
    }
    fn request_status_watcher(&self, _: &u8) -> StatusWatcher {
        unreachable!()
    }
    fn update_settings(&mut self, _: Bare) {}
    fn get_service_lifecycle_notifier(&self, _: &u8) -> &LifecycleNotifier {
        unreachable!()
    }
}

#[cfg(feature = "derive")]
mod derived {
    use super::Demanding;

    // Both names of the macro: `derive_services` is what is used, `Services` its second half.
    #[allow(unused_imports, reason = "it is enough that it is there")]
    use overwatch::Services;

    #[overwatch::derive_services]
    struct App {
        demanding: Demanding,
    }

    fn is_node<App: overwatch::overwatch::Services + Send + 'static>() {}

    fn it_is_one() {
        is_node::<App>();
        is_node::<super::ByHand>();
    }
}

#[test]
fn compiles() {}
