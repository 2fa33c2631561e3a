//! Callers that go away, and callers that ask for more than there is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use kms_backend::{BackendError, PageRequest};
use kms_keys::KeyType;
use kms_service::{KeyFilter, KmsApi, KmsError};

use crate::callers::rest;
use crate::node::{First, Node, Second};
use crate::random::Random;
use crate::world::{Whose, World};

/// Requests of one flood.
const FLOOD: usize = 400;

/// Asks for anything and goes away at any time, until it is over.
pub(crate) async fn vanish(world: Arc<World>, whose: Whose, number: u64) {
    let node = whose(&world);
    let api = node.api::<Second>().await;
    let mut random = Random::new(world.seed, number);
    while !world.is_over() {
        let asking = world.floor.read().await;
        let patience = Duration::from_micros(random.next() % 3000);
        let request = ask_for_anything(&world, node, &api, &mut random);
        tokio::select! {
            () = request => {}
            () = tokio::time::sleep(patience) => {}
        }
        drop(asking);
        tokio::time::sleep(random.millis(1, 10)).await;
    }
}

async fn ask_for_anything(world: &World, node: &Node, api: &KmsApi, random: &mut Random) {
    let tally = &node.tally;
    let (id, _) = random.pick(&node.local);
    let (far, _) = random.pick(&node.far);
    let message = random.message();
    let bls = node.local.iter().filter(|(_, key)| key.key_type() == KeyType::Bls12381);
    let ids: Vec<_> = bls.map(|(id, _)| id.clone()).collect();
    let answer = match random.below(7) {
        0 => tally.ask_local(api.sign(id, message).into_future()).await.map(drop),
        1 => tally.ask_local(api.sign_many(id, None, vec![message; 10])).await.map(drop),
        2 => tally.ask_local(api.sign_aggregate(&ids, message)).await.map(drop),
        3 => tally.ask_local(api.execute(id, "x25519", [9; 32])).await.map(drop),
        4 => tally.ask(api.list(KeyFilter::default(), PageRequest::first(5))).await.map(drop),
        5 => tally.ask(api.health()).await.map(drop),
        _ => tally.ask(api.sign(far, message).into_future()).await.map(drop),
    };
    match answer {
        Ok(())
        // The operator is for Ed25519 alone.
        | Err(KmsError::TypeMismatch { .. } | KmsError::Backend(_) | KmsError::Internal) => {}
        Err(error) => world.tolerate("going away", &error),
    }
}

/// Asks for much more than there is room for, now and then, until it is over; others must be served.
pub(crate) async fn flood(world: Arc<World>, whose: Whose, number: u64) {
    let node = whose(&world);
    let (api, other) = (node.api::<Second>().await, node.api::<First>().await);
    let mut random = Random::new(world.seed, number);
    while !world.is_over() {
        {
            let _asking = world.floor.read().await;
            let restarts = node.tally.restarts();
            let (flooding, serving) = (random.split(), random.split());
            let ((), served) = tokio::join!(
                flood_once(&world, node, &api, flooding),
                served_meanwhile(&world, node, &other, serving),
            );
            world.seen.served_in_floods.fetch_add(served, Ordering::Relaxed);
            if served == 0 && node.tally.restarts() == restarts {
                world.wrong("nobody else was served in a flood");
            }
        }
        rest(&world, random.millis(1000, 4000)).await;
    }
}

async fn flood_once(world: &World, node: &Node, api: &KmsApi, mut random: Random) {
    let far = random.below(4) == 0;
    let keys = if far { &node.far } else { &node.local };
    let (id, key) = random.pick(keys);
    let messages: Vec<_> = (0..FLOOD).map(|_| random.message()).collect();
    let requests = messages.iter().map(|message| async move {
        let request = api.sign(id, &**message).into_future();
        if far { node.tally.ask(request).await } else { node.tally.ask_local(request).await }
    });
    for (message, answer) in messages.iter().zip(join_all(requests).await) {
        match answer {
            Ok(signature) => world.verify(node, key, message, &signature),
            Err(
                KmsError::Internal
                | KmsError::Backend(BackendError::Unavailable(_) | BackendError::Throttled { .. }),
            ) if far => {}
            Err(error) => world.tolerate("flooding", &error),
        }
    }
}

/// How many signatures somebody else got.
async fn served_meanwhile(world: &World, node: &Node, api: &KmsApi, mut random: Random) -> u64 {
    let mut served = 0;
    for _ in 0..10 {
        let (id, key) = random.pick(&node.local);
        let message = random.message();
        match node.tally.ask_local(api.sign(id, &*message).into_future()).await {
            Ok(signature) => {
                world.verify(node, key, &message, &signature);
                served += 1;
            }
            Err(error) => world.tolerate("signing in a flood", &error),
        }
    }
    served
}
