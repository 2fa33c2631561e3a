//! An operator that itself speaks to the node, which waits for it when a service stops.

#![cfg(feature = "derive")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use async_trait::async_trait;
use overwatch::{
    DynError, OpaqueServiceResourcesHandle, derive_services,
    overwatch::{OverwatchHandle, OverwatchRunner},
    services::{
        ServiceCore, ServiceData,
        state::{ServiceState, StateOperator},
        status::ServiceStatus,
    },
};
use tokio::{runtime::Handle, sync::mpsc};

#[derive_services]
struct App {
    counter: Counter,
}

/// Saves every number that it is sent.
struct Counter(OpaqueServiceResourcesHandle<Self, RuntimeServiceId>);

#[derive(Clone)]
struct Count(u64);

#[derive(Clone, Debug)]
struct Settings {
    kept: mpsc::UnboundedSender<u64>,
}

#[derive(Clone)]
struct Keeper {
    kept: mpsc::UnboundedSender<u64>,
    handle: OverwatchHandle<RuntimeServiceId>,
}

impl ServiceData for Counter {
    type Settings = Settings;
    type State = Count;
    type StateOperator = Keeper;
    type Message = u64;
}

#[async_trait]
impl ServiceCore<RuntimeServiceId> for Counter {
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _state: Count,
    ) -> Result<Self, DynError> {
        Ok(Self(resources))
    }

    async fn run(mut self) -> Result<(), DynError> {
        while let Some(number) = self.0.inbound_relay.recv().await {
            self.0.state_updater.update(Some(Count(number)));
            if number == RETURN {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl ServiceState for Count {
    type Settings = Settings;
    type Error = DynError;

    fn from_settings(_settings: &Settings) -> Result<Self, DynError> {
        Ok(Self(0))
    }
}

const SHUT_DOWN: u64 = 3;
const ASK: u64 = 5;
const RETURN: u64 = 7;

#[async_trait]
impl StateOperator<RuntimeServiceId> for Keeper {
    type State = Count;
    type LoadError = String;

    fn try_load(_settings: &Settings) -> Result<Option<Count>, String> {
        Ok(None)
    }

    fn from_settings(settings: &Settings, handle: OverwatchHandle<RuntimeServiceId>) -> Self {
        Self { kept: settings.kept.clone(), handle }
    }

    async fn run(&mut self, Count(number): Count) {
        match number {
            SHUT_DOWN => self.handle.shutdown().await.unwrap(),
            ASK | RETURN => drop(self.handle.relay::<Counter>().await.unwrap()),
            _ => {}
        }
        self.kept.send(number).unwrap();
    }
}

type Overwatch = overwatch::overwatch::Overwatch<RuntimeServiceId>;

async fn node() -> (Overwatch, mpsc::UnboundedReceiver<u64>) {
    let (kept, keeps) = mpsc::unbounded_channel();
    let settings = AppServiceSettings { counter: Settings { kept } };
    let overwatch = OverwatchRunner::<App>::run(settings, Some(Handle::current())).unwrap();
    overwatch.handle().start_service::<Counter>().await.unwrap();
    (overwatch, keeps)
}

#[tokio::test]
async fn it_may_shut_the_node_down() {
    let (overwatch, mut keeps) = node().await;
    assert_eq!(keeps.recv().await, Some(0));
    let relay = overwatch.handle().relay::<Counter>().await.unwrap();
    relay.send(SHUT_DOWN).await.unwrap();
    overwatch.wait_finished().await;
    assert_eq!(keeps.recv().await, None);
}

#[tokio::test]
async fn it_may_ask_the_node_while_the_service_runs() {
    let (overwatch, mut keeps) = node().await;
    assert_eq!(keeps.recv().await, Some(0));
    let relay = overwatch.handle().relay::<Counter>().await.unwrap();
    relay.send(ASK).await.unwrap();
    assert_eq!(keeps.recv().await, Some(ASK));
    overwatch.handle().shutdown().await.unwrap();
}

#[tokio::test]
async fn it_may_ask_the_node_after_the_service_has_ended_by_itself() {
    let (overwatch, mut keeps) = node().await;
    assert_eq!(keeps.recv().await, Some(0));
    let handle = overwatch.handle();
    let mut status = handle.status_watcher::<Counter>().await;
    let relay = handle.relay::<Counter>().await.unwrap();
    relay.send(RETURN).await.unwrap();
    assert_eq!(keeps.recv().await, Some(RETURN));
    status.wait_for(ServiceStatus::Stopped, None).await.unwrap();
    handle.shutdown().await.unwrap();
}

/// The state in its hands is lost then, but the node is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_not_wait_for_a_node_that_waits_for_it() {
    for number in [ASK, RETURN, SHUT_DOWN] {
        for _ in 0..20 {
            let (overwatch, _keeps) = node().await;
            let relay = overwatch.handle().relay::<Counter>().await.unwrap();
            relay.send(number).await.unwrap();
            // Whoever of the two asks first: both come to an end.
            let _ = overwatch.handle().stop_service::<Counter>().await;
            let _ = overwatch.handle().shutdown().await;
            overwatch.wait_finished().await;
        }
    }
}
