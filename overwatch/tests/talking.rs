//! Two services that talk to each other, found through the node.

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
    overwatch::OverwatchRunner,
    services::{
        ServiceCore, ServiceData,
        state::{NoOperator, NoState},
    },
};
use tokio::{runtime::Handle, sync::oneshot};

#[derive_services]
struct Table {
    // The asker comes first: it waits for an answer, not for a start.
    ping: Ping,
    pong: Pong,
}

type Resources<Service> = OpaqueServiceResourcesHandle<Service, RuntimeServiceId>;

/// Plays as many rounds as it is told, then says how many came back.
struct Ping(Resources<Self>);

struct Game {
    rounds: u32,
    result: oneshot::Sender<u32>,
}

/// Returns every ball with the number of the round.
struct Pong(Resources<Self>);

struct Ball {
    round: u32,
    back: oneshot::Sender<u32>,
}

impl ServiceData for Ping {
    const SERVICE_RELAY_BUFFER_SIZE: usize = 1;
    type Settings = ();
    type State = NoState<()>;
    type StateOperator = NoOperator<Self::State>;
    type Message = Game;
}

impl ServiceData for Pong {
    type Settings = ();
    type State = NoState<()>;
    type StateOperator = NoOperator<Self::State>;
    type Message = Ball;
}

#[async_trait]
impl ServiceCore<RuntimeServiceId> for Ping {
    fn init(resources: Resources<Self>, _state: NoState<()>) -> Result<Self, DynError> {
        Ok(Self(resources))
    }

    async fn run(mut self) -> Result<(), DynError> {
        let pong = self.0.overwatch_handle.relay::<Pong>().await?;
        self.0.status_updater.notify_ready();
        while let Some(game) = self.0.inbound_relay.recv().await {
            let mut returned = 0;
            for round in 0..game.rounds {
                let (back, ball) = oneshot::channel();
                pong.send(Ball { round, back }).await.map_err(|(error, _)| error)?;
                returned += u32::from(ball.await? == round);
            }
            let _ = game.result.send(returned);
        }
        Ok(())
    }
}

#[async_trait]
impl ServiceCore<RuntimeServiceId> for Pong {
    fn init(resources: Resources<Self>, _state: NoState<()>) -> Result<Self, DynError> {
        Ok(Self(resources))
    }

    async fn run(mut self) -> Result<(), DynError> {
        // The relay as a stream, this time.
        use futures::StreamExt as _;
        let Resources::<Self> { mut inbound_relay, status_updater, .. } = self.0;
        status_updater.notify_ready();
        while let Some(ball) = inbound_relay.next().await {
            let _ = ball.back.send(ball.round);
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_game_is_played() {
    let settings = TableServiceSettings { ping: (), pong: () };
    let node = OverwatchRunner::<Table>::run(settings, Some(Handle::current())).unwrap();
    node.handle().start_all_services().await.unwrap();
    let ping = node.handle().relay::<Ping>().await.unwrap();
    let (result, returned) = oneshot::channel();
    let game = Game { rounds: 40, result };
    assert!(ping.send(game).await.is_ok());
    assert_eq!(returned.await, Ok(40));
    node.handle().shutdown().await.unwrap();
    node.wait_finished().await;
}
