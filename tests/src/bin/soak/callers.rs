//! Callers that behave: they sign in every way and verify all of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kms_backend::BackendError;
use kms_keys::{Bls12381PublicKey, KeyId, KeyType, PublicKey, Signature};
use kms_service::{KmsApi, KmsError};

use crate::node::{First, Node};
use crate::random::Random;
use crate::world::{Whose, World};

/// Signs with the keys of this process until it is over.
pub(crate) async fn local(world: Arc<World>, whose: Whose, number: u64) {
    let node = whose(&world);
    let api = node.api::<First>().await;
    let mut random = Random::new(world.seed, number);
    // What the key agreement gives with this input is always the same.
    let mut agreed: Option<Vec<u8>> = None;
    while !world.is_over() {
        let _asking = world.floor.read().await;
        match random.below(10) {
            0..6 => sign(&world, node, &api, &mut random).await,
            6..8 => sign_many(&world, node, &api, &mut random).await,
            8 => aggregate(&world, node, &api, &mut random).await,
            _ => agree(&world, node, &api, &mut agreed).await,
        }
    }
}

/// Signs with the keys elsewhere until it is over.
pub(crate) async fn far(world: Arc<World>, whose: Whose, number: u64) {
    let node = whose(&world);
    let api = node.api::<First>().await;
    let mut random = Random::new(world.seed, number);
    while !world.is_over() {
        let asking = world.floor.read().await;
        let (id, key) = random.pick(&node.far);
        let message = random.message();
        match node.tally.ask(api.sign(id, &*message).into_future()).await {
            Ok(signature) => {
                world.verify(node, key, &message, &signature);
                let opened = world.seen.breaker_open.load(Ordering::Relaxed) > 0;
                world.seen.breaker_closed.fetch_add(u64::from(opened), Ordering::Relaxed);
            }
            Err(KmsError::Backend(BackendError::Unavailable(failure)))
                if failure.to_string().contains("again and again") =>
            {
                world.seen.breaker_open.fetch_add(1, Ordering::Relaxed);
            }
            Err(KmsError::Backend(
                BackendError::Unavailable(_) | BackendError::Throttled { .. },
            ))
            // A panic of the signer.
            | Err(KmsError::Internal) => {}
            Err(error) => world.tolerate("signing elsewhere", &error),
        }
        drop(asking);
        tokio::time::sleep(random.millis(1, 20)).await;
    }
}

async fn sign(world: &World, node: &Node, api: &KmsApi, random: &mut Random) {
    let (id, key) = random.pick(&node.local);
    let message = random.message();
    match node.tally.ask_local(api.sign(id, &*message).into_future()).await {
        Ok(signature) => {
            world.verify(node, key, &message, &signature);
            let other = random.pick(&node.local);
            if other.0 != *id && other.1.key_type() == key.key_type() {
                let scheme = key.key_type().default_scheme();
                if other.1.verify(scheme, &message, &signature).is_ok() {
                    world.wrong(format!("a signature of {id} is one of {} as well", other.0));
                }
            }
        }
        Err(error) => world.tolerate("signing", &error),
    }
}

async fn sign_many(world: &World, node: &Node, api: &KmsApi, random: &mut Random) {
    let (id, key) = random.pick(&node.local);
    let messages: Vec<_> = (0..1 + random.below(20)).map(|_| random.message()).collect();
    match node.tally.ask_local(api.sign_many(id, None, messages.clone())).await {
        Ok(outcomes) => {
            if outcomes.len() != messages.len() {
                world.wrong(format!("{} outcomes of {}", outcomes.len(), messages.len()));
            }
            for (message, outcome) in messages.iter().zip(outcomes) {
                match outcome {
                    Ok(signature) => world.verify(node, key, message, &signature),
                    // Whoever gets an answer gets it for each message.
                    Err(KmsError::AnswerLost) => world.wrong("the answer for one of many was lost"),
                    Err(error) => world.tolerate("one of many", &error),
                }
            }
        }
        Err(error) => world.tolerate("signing many", &error),
    }
}

async fn aggregate(world: &World, node: &Node, api: &KmsApi, random: &mut Random) {
    let keys: Vec<&(KeyId, PublicKey)> =
        node.local.iter().filter(|(_, key)| key.key_type() == KeyType::Bls12381).collect();
    let ids: Vec<KeyId> = keys.iter().map(|(id, _)| id.clone()).collect();
    let message = random.message();
    match node.tally.ask_local(api.sign_aggregate(&ids, &*message)).await {
        Ok(aggregate) => {
            if !aggregate.public_keys.iter().eq(keys.iter().map(|(_, key)| key)) {
                world.wrong("an aggregate of other keys");
            }
            if verifies(&aggregate.public_keys, &message, &aggregate.signature) {
                node.tally.verified(1);
            } else {
                world.wrong("an aggregate that doesn't verify");
            }
        }
        Err(error) => world.tolerate("aggregating", &error),
    }
}

fn verifies(keys: &[PublicKey], message: &[u8], signature: &Signature) -> bool {
    let keys: Option<Vec<Bls12381PublicKey>> = keys
        .iter()
        .map(|key| match key {
            PublicKey::Bls12381(key) => Some(*key),
            _ => None,
        })
        .collect();
    let (Some(keys), Signature::Bls12381(signature)) = (keys, signature) else { return false };
    signature.fast_aggregate_verify(&keys, message).is_ok()
}

async fn agree(world: &World, node: &Node, api: &KmsApi, agreed: &mut Option<Vec<u8>>) {
    let mut keys = node.local.iter();
    let Some((id, _)) = keys.find(|(_, key)| key.key_type() == KeyType::Ed25519) else { return };
    match node.tally.ask_local(api.execute(id, "x25519", [9; 32])).await {
        Ok(secret) => match agreed {
            Some(before) if before.as_slice() != secret.expose() => {
                world.wrong("another key was agreed on than before");
            }
            Some(_) => {}
            None => *agreed = Some(secret.expose().to_vec()),
        },
        Err(error) => world.tolerate("agreeing", &error),
    }
}

/// A short rest, not longer than what is left of the soak.
pub(crate) async fn rest(world: &World, time: Duration) {
    let mut left = time;
    while !world.is_over() && !left.is_zero() {
        let step = left.min(Duration::from_millis(100));
        tokio::time::sleep(step).await;
        left -= step;
    }
}
