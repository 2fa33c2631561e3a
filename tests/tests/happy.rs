//! A node that starts, works and stops; twice, and two at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use kms_tests::{Folder, id, kms_of, slots, start, verify};
use node_example::identity::Identity;
use node_example::running::RunningNode;

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_signed_and_verified() {
    let folder = Folder::new(1);
    let mut node = start(&folder).await;
    assert_eq!(node.keys().len(), 7);
    assert_eq!(slots(&mut node, 10).await[0].slot, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_in_one_process() {
    let folder = Folder::new(2);
    let mut first = start(&folder).await;
    let keys = first.keys().to_vec();
    let hashes = slots(&mut first, 3).await;
    first.stop().await;

    let mut second = start(&folder).await;
    assert!(
        second.keys().iter().map(|key| &key.public_key).eq(keys.iter().map(|key| &key.public_key))
    );
    let again = slots(&mut second, 3).await;
    assert!(again.iter().map(|slot| slot.hash).eq(hashes.iter().map(|slot| slot.hash)));
    second.stop().await;
}

async fn sign(node: &RunningNode) -> kms_keys::Signature {
    let kms = kms_of::<Identity>(node).await;
    kms.sign(&id("node/identity"), "who?").await.unwrap()
}

/// The same ids in both nodes, and other keys.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_see_their_own_keys_alone() {
    let (ours, theirs) = (Folder::new(3), Folder::new(4));
    let (mut one, mut other) = (start(&ours).await, start(&theirs).await);
    for (ours, theirs) in one.keys().iter().zip(other.keys()) {
        assert_eq!(ours.id, theirs.id);
        assert_ne!(ours.public_key, theirs.public_key, "{}", ours.id);
    }
    tokio::join!(slots(&mut one, 5), slots(&mut other, 5));

    let key = |node: &RunningNode| {
        node.keys().iter().find(|key| key.id == id("node/identity")).unwrap().public_key.clone()
    };
    verify(&key(&one), b"who?", &sign(&one).await);
    verify(&key(&other), b"who?", &sign(&other).await);
    let scheme = kms_keys::SigningScheme::Ed25519;
    assert!(key(&one).verify(scheme, b"who?", &sign(&other).await).is_err());

    one.stop().await;
    slots(&mut other, 5).await;
    other.stop().await;
}
