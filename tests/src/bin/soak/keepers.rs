//! Those who take keys in and out of use, and see to it that no signature comes afterwards.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use kms_backend::{BackendError, KeyState};
use kms_keys::{KeyId, PublicKey, Signature};
use kms_service::{KmsApi, KmsError};
use kms_tests::id;

use crate::node::{First, Node};
use crate::random::Random;
use crate::world::{Whose, World};

/// So long are deletions scheduled ahead; none comes due.
const WAIT: Duration = Duration::from_secs(3600);

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Signature, KmsError>> + Send + 'a>>;

/// Keeps the `kept`th key until it is over.
pub(crate) async fn keep(world: Arc<World>, whose: Whose, kept: usize, number: u64) {
    let node = whose(&world);
    let (api, id) = (node.api::<First>().await, id(&format!("kept/{kept}")));
    let mut keeper = Keeper { world: &world, node, api, id, unknown: false };
    let mut random = Random::new(world.seed, number);
    while !world.is_over() {
        {
            let _asking = world.floor.read().await;
            match keeper.round(&mut random).await {
                Ok(()) => keeper.unknown = false,
                // A change whose answer was lost was made after the state was asked for.
                Err(KmsError::Backend(BackendError::Denied(_))) if keeper.unknown => {}
                Err(error) => {
                    world.tolerate("keeping a key", &error);
                    keeper.unknown = true;
                }
            }
        }
        tokio::time::sleep(random.millis(1, 30)).await;
    }
}

struct Keeper<'a> {
    world: &'a World,
    node: &'a Node,
    api: KmsApi,
    id: KeyId,
    /// Whether the last round was broken off, and what became of its change isn't known.
    unknown: bool,
}

impl Keeper<'_> {
    /// Brings the key into use, takes it out while signatures are under way, and looks.
    async fn round(&self, random: &mut Random) -> Result<(), KmsError> {
        let (world, tally) = (self.world, &self.node.tally);
        let key = self.bring_into_use().await?;
        let messages: Vec<_> = (0..1 + random.below(8)).map(|_| random.message()).collect();
        let mut under_way: Vec<(&Vec<u8>, Asked<'_>)> = Vec::new();
        for message in &messages {
            let request = tally.ask_local(self.api.sign(&self.id, &**message).into_future());
            let mut request: Asked<'_> = Box::pin(request);
            match look(&mut request).await {
                Some(answer) => self.given_before(&key, message, answer),
                None => under_way.push((message, request)),
            }
        }
        if random.below(2) == 0 {
            tokio::time::sleep(random.millis(0, 3)).await;
        }
        let closing = match random.below(3) {
            0 => tally.ask(self.api.schedule_delete(&self.id, WAIT)).await,
            _ => tally.ask(self.api.disable(&self.id)).await,
        };
        // What was given out by now is here by now.
        let mut later = Vec::new();
        for (message, mut request) in under_way {
            match look(&mut request).await {
                Some(answer) => self.given_before(&key, message, answer),
                None => later.push((message, request)),
            }
        }
        let closed = closing.is_ok();
        for (message, request) in later {
            let answer = request.await;
            if closed && answer.is_ok() {
                world.wrong(format!("{} signed after it was taken out of use", self.id));
            }
            self.given_before(&key, message, answer);
        }
        let info = closing?;
        world.seen.disabled.fetch_add(1, Ordering::Relaxed);
        for _ in 0..2 {
            let late = tally.ask_local(self.api.sign(&self.id, "late").into_future()).await;
            match (late, info.state) {
                (Ok(_), state) => world.wrong(format!("{} signed while {state}", self.id)),
                (Err(KmsError::Disabled { .. }), KeyState::Disabled)
                | (Err(KmsError::PendingDeletion { .. }), KeyState::PendingDeletion { .. }) => {}
                (Err(error), _) => world.tolerate("a key that was taken out of use", &error),
            }
        }
        Ok(())
    }

    async fn bring_into_use(&self) -> Result<PublicKey, KmsError> {
        let tally = &self.node.tally;
        let mut info = tally.ask(self.api.key_info(&self.id)).await?;
        if let KeyState::PendingDeletion { .. } = info.state {
            info = tally.ask(self.api.cancel_delete(&self.id)).await?;
        }
        if info.state != KeyState::Active {
            info = tally.ask(self.api.enable(&self.id)).await?;
        }
        Ok(info.public_key)
    }

    fn given_before(&self, key: &PublicKey, message: &[u8], answer: Result<Signature, KmsError>) {
        match answer {
            Ok(signature) => self.world.verify(self.node, key, message, &signature),
            Err(KmsError::Disabled { .. } | KmsError::PendingDeletion { .. }) => {}
            Err(error) => self.world.tolerate("signing with a kept key", &error),
        }
    }
}

/// The answer, if there is one. Not for the runtime's sake does it say that there is none.
async fn look<T>(request: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Option<T> {
    let look = std::future::poll_fn(|context| {
        Poll::Ready(match request.as_mut().poll(context) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        })
    });
    tokio::task::unconstrained(look).await
}
