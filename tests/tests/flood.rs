//! More requests at once than the service takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::sync::Arc;

use futures::future::join_all;
use kms_backend::HealthLevel;
use kms_service::{KmsApi, KmsError};
use kms_tests::{Folder, SETTINGS, id, kms_of, message, slots, verify};
use node_example::attesters::Attesters;
use node_example::identity::Identity;
use node_example::proposer::Proposer;
use node_example::running::RunningNode;
use tokio::sync::Barrier;

const REQUESTS: usize = 1500;

/// Asks for all signatures at once; how many there were, and how many requests were refused. Each is answered,
/// by a signature of its own message or a refusal that says when to try again.
async fn flood(kms: KmsApi, key: &'static str, together: Arc<Barrier>) -> (usize, usize) {
    let key = id(key);
    let public = kms.public_key(&key).await.unwrap();
    together.wait().await;
    let requests = (0..REQUESTS).map(|number| kms.sign(&key, message(number)).into_future());
    let (mut signed, mut refused) = (0, 0);
    for (number, answer) in join_all(requests).await.into_iter().enumerate() {
        match answer {
            Ok(signature) => {
                verify(&public, &message(number), &signature);
                signed += 1;
            }
            Err(KmsError::Overloaded { retry_after }) => {
                assert!(!retry_after.is_zero());
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    (signed, refused)
}

async fn flooded(seed: u8, queue: usize) -> Vec<(usize, usize)> {
    let folder = Folder::new(seed);
    let limits = format!("limits: {{ queue: {queue}, ");
    // After the first slot, the node's own services ask for nothing.
    let settings = SETTINGS.replace("limits: { ", &limits).replace("slot: 5ms", "slot: 1h");
    let mut node = RunningNode::start(folder.settings_of(&settings)).await.unwrap();
    slots(&mut node, 1).await;
    let together = Arc::new(Barrier::new(3));
    let floods = [
        tokio::spawn(flood(
            kms_of::<Identity>(&node).await,
            "node/identity",
            Arc::clone(&together),
        )),
        tokio::spawn(flood(
            kms_of::<Proposer>(&node).await,
            "proposer/main",
            Arc::clone(&together),
        )),
        tokio::spawn(flood(kms_of::<Attesters>(&node).await, "attester/0", together)),
    ];
    let counts: Vec<_> = join_all(floods).await.into_iter().map(Result::unwrap).collect();
    for (signed, refused) in &counts {
        assert_eq!(signed + refused, REQUESTS);
    }
    let refused: usize = counts.iter().map(|(_, refused)| refused).sum();

    let kms = kms_of::<Identity>(&node).await;
    for key in ["node/identity", "proposer/main", "attester/0"] {
        let public = kms.public_key(&id(key)).await.unwrap();
        verify(&public, b"after", &kms.sign(&id(key), "after").await.unwrap());
    }
    let health = kms.health().await.unwrap();
    assert_eq!((health.level, health.keys, health.counters.panics), (HealthLevel::Ok, 7, 0));
    // Refused once each, as the service has it too, and nothing was dropped.
    assert_eq!(health.counters.overloaded, refused as u64);
    assert_eq!((health.counters.abandoned, health.counters.expired), (0, 0));
    node.stop().await;
    counts
}

/// A queue for all of them: none is refused.
#[tokio::test(flavor = "multi_thread")]
async fn with_room_for_all() {
    for (signed, _) in flooded(1, 65_536).await {
        assert_eq!(signed, REQUESTS);
    }
}

/// A short queue, of no more than an aggregate of the four attesters needs: what it doesn't hold is refused at
/// once. Who gets how many through is up to the scheduler.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_short_queue() {
    let counts = flooded(2, 4).await;
    assert!(counts.iter().any(|(signed, _)| *signed != 0), "{counts:?}");
    assert!(counts.iter().any(|(_, refused)| *refused != 0), "{counts:?}");
}
