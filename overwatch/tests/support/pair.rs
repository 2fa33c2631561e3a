use std::sync::Arc;

use overwatch::{
    derive_services,
    overwatch::{Overwatch, OverwatchHandle, OverwatchRunner},
    services::{
        relay::OutboundRelay,
        status::{ServiceStatus, StatusWatcher},
    },
};
use tokio::{runtime::Handle, sync::oneshot};

use super::{Control, Message, Settings, Worker};

#[derive_services]
pub struct App {
    first: Worker<1, RuntimeServiceId>,
    second: Worker<2, RuntimeServiceId>,
}

pub type First = Worker<1, RuntimeServiceId>;
pub type Second = Worker<2, RuntimeServiceId>;

/// A node with two workers.
pub struct Node {
    pub overwatch: Overwatch<RuntimeServiceId>,
    pub handle: OverwatchHandle<RuntimeServiceId>,
    pub first: Arc<Control>,
    pub second: Arc<Control>,
}

impl Node {
    /// A node in the runtime of the test.
    pub fn new() -> Self {
        Self::run(Some(Handle::current()))
    }

    pub fn run(runtime: Option<Handle>) -> Self {
        let (first, second) = (Arc::default(), Arc::default());
        let settings = settings(&first, &second);
        let overwatch = OverwatchRunner::<App>::run(settings, runtime).unwrap();
        Self { handle: overwatch.handle().clone(), overwatch, first, second }
    }

    /// The settings that it began with.
    pub fn settings(&self) -> AppServiceSettings {
        settings(&self.first, &self.second)
    }

    /// The first worker, started.
    pub async fn start_first(&self) -> (OutboundRelay<Message>, StatusWatcher) {
        self.handle.start_service::<First>().await.unwrap();
        (self.relay().await, self.status().await)
    }

    /// The relay of the first worker.
    pub async fn relay(&self) -> OutboundRelay<Message> {
        self.handle.relay::<First>().await.unwrap()
    }

    /// The status of the first worker.
    pub async fn status(&self) -> StatusWatcher {
        self.handle.status_watcher::<First>().await
    }

    /// The status of both, now.
    pub async fn statuses(&self) -> [ServiceStatus; 2] {
        let second = self.handle.status_watcher::<Second>().await;
        [self.status().await.current(), second.current()]
    }
}

fn settings(first: &Arc<Control>, second: &Arc<Control>) -> AppServiceSettings {
    AppServiceSettings { first: Settings::new(first), second: Settings::new(second) }
}

/// Queues a message that is answered with its number.
pub async fn echo(relay: &OutboundRelay<Message>, number: u32) -> oneshot::Receiver<u32> {
    let (reply, echo) = oneshot::channel();
    relay.send(Message::Echo(number, reply)).await.unwrap();
    echo
}

/// Leaves the worker in the middle of an await.
pub async fn hang(relay: &OutboundRelay<Message>) {
    let (reply, hung) = oneshot::channel();
    relay.send(Message::Hang(reply)).await.unwrap();
    hung.await.unwrap();
}

/// Has the worker save a state.
pub async fn save(relay: &OutboundRelay<Message>, state: Option<u64>) {
    let (reply, saved) = oneshot::channel();
    relay.send(Message::Save(state, reply)).await.unwrap();
    saved.await.unwrap();
}
