//! What changes a key, and what a changed key does.

use std::time::{Duration, SystemTime};

use kms_backend::{BackendError, KeyState};
use kms_keys::{KeyType, SigningScheme};
use kms_service::{KeyRequest, KmsApi, KmsError};
use serde_json::json;

use crate::support::*;

async fn node() -> (TestNode, KmsApi) {
    let keys = json!([
        { "id": "good", "type": "ed25519" },
        { "id": "key", "type": "ed25519" },
        { "id": "bls/0", "type": "bls12-381" },
        { "id": "bls/1", "type": "bls12-381" }
    ]);
    let node = TestNode::started(keys).await;
    let api = node.api().await;
    (node, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_signs_with_its_new_version() {
    let (_node, api) = node().await;
    let handle = api.register(KeyRequest::new("key", KeyType::Ed25519)).await.unwrap();
    let old = handle.public_key().clone();
    let rotated = api.rotate(&id("key")).await.unwrap();
    assert_eq!(rotated.version, 2);
    assert_ne!(rotated.public_key, old);
    assert_eq!(api.public_key(&id("key")).await.unwrap(), rotated.public_key);

    for signature in [handle.sign("m").await, handle.sign("m").version(2).await] {
        let signature = signature.unwrap();
        rotated.public_key.verify(SigningScheme::Ed25519, b"m", &signature).unwrap();
        old.verify(SigningScheme::Ed25519, b"m", &signature).unwrap_err();
    }
    let refused = handle.sign("m").version(1).await;
    assert_refused!(refused, KmsError::NotFound { version: Some(1), .. });
    // The handle is from before.
    assert_eq!(*handle.public_key(), old);
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_key_signs_nothing_until_it_is_enabled() {
    let (node, api) = node().await;
    let key = id("key");
    assert_eq!(api.disable(&key).await.unwrap().state, KeyState::Disabled);
    for refused in [
        api.sign(&key, "m").await.map(drop),
        api.sign_many(&key, None, vec![vec![1]]).await.map(drop),
        api.execute(&key, "x25519", [9; 32]).await.map(drop),
    ] {
        assert_refused!(refused, KmsError::Disabled { id } if id == key);
        works(&api).await;
    }
    assert_eq!(node.script.count(&Act::Sign(key.clone())), 0);
    assert_eq!(api.key_info(&key).await.unwrap().state, KeyState::Disabled);
    api.register(KeyRequest::new("key", KeyType::Ed25519)).await.unwrap();
    assert_refused!(api.sign(&key, "m").await, KmsError::Disabled { .. });

    assert_eq!(api.enable(&key).await.unwrap().state, KeyState::Active);
    api.sign(&key, "m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_disabled_key_keeps_an_aggregate_from_being_made() {
    let (node, api) = node().await;
    let both = ids(["bls/0", "bls/1"]);
    api.disable(&both[1]).await.unwrap();
    let refused = api.sign_aggregate(&both, "m").await;
    assert_refused!(refused, KmsError::Disabled { id } if id == both[1]);
    assert_eq!(node.script.count(&Act::Sign(both[0].clone())), 0);
    api.enable(&both[1]).await.unwrap();
    api.sign_aggregate(&both, "m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_to_be_deleted_signs_nothing_unless_that_is_taken_back() {
    let (node, api) = node().await;
    let key = id("key");
    let hour = Duration::from_secs(3600);
    let not_before = SystemTime::UNIX_EPOCH + hour;
    let scheduled = api.schedule_delete(&key, hour).await.unwrap();
    assert_eq!(scheduled.state, KeyState::PendingDeletion { not_before });
    for refused in
        [api.sign(&key, "m").await.map(drop), api.execute(&key, "x25519", [9; 32]).await.map(drop)]
    {
        assert_refused!(refused, KmsError::PendingDeletion { id } if id == key);
        works(&api).await;
    }
    assert_eq!(node.script.count(&Act::Sign(key.clone())), 0);
    assert_eq!(api.cancel_delete(&key).await.unwrap().state, KeyState::Active);
    api.sign(&key, "m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn states_and_versions_outlive_the_service() {
    let (node, api) = node().await;
    let key = id("key");
    api.rotate(&key).await.unwrap();
    let before = api.disable(&key).await.unwrap();
    node.stop().await;
    node.start().await.unwrap();
    assert_eq!(api.key_info(&key).await.unwrap(), before);
    assert_refused!(api.sign(&key, "m").await, KmsError::Disabled { .. });
    api.enable(&key).await.unwrap();
    api.sign(&key, "m").version(2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_failed_changed_nothing() {
    let (node, api) = node().await;
    let key = id("key");
    let before = api.key_info(&key).await.unwrap();
    let failures = [
        Does::Panic,
        Does::Fail(Does::CLASSES[0]),
        Does::Lie(Lie::Id),
        Does::Lie(Lie::KeyType),
        Does::Lie(Lie::PublicKey),
    ];
    for does in failures {
        node.script.when(Act::Change(key.clone()), does);
        api.disable(&key).await.unwrap_err();
        api.rotate(&key).await.unwrap_err();
        assert_eq!(api.key_info(&key).await.unwrap(), before, "{does:?}");
        let signature = api.sign(&key, "m").await.unwrap();
        before.public_key.verify(SigningScheme::Ed25519, b"m", &signature).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_says_done_and_did_not_is_not_believed() {
    let (node, api) = node().await;
    let key = id("key");
    node.script.when(Act::Change(key.clone()), Does::Lie(Lie::State));
    let wait = Duration::ZERO;
    for refused in [api.disable(&key).await, api.schedule_delete(&key, wait).await] {
        assert_refused!(refused, KmsError::Backend(BackendError::Corrupt(_)));
    }
    node.script.all_right();
    api.disable(&key).await.unwrap();
    node.script.when(Act::Change(key.clone()), Does::Lie(Lie::State));
    assert_refused!(api.enable(&key).await, KmsError::Backend(BackendError::Corrupt(_)));
    assert_refused!(api.sign(&key, "m").await, KmsError::Disabled { .. });
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_key_take_turns_in_order_and_others_do_not_wait() {
    let (node, api) = node().await;
    let key = id("key");
    node.script.when(Act::Change(key.clone()), Does::Stuck);
    let first = sent(api.rotate(&key)).await;
    let second = sent(api.disable(&key)).await;
    let third = sent(api.rotate(&key)).await;
    node.script.seen(Act::Change(key.clone()), 1).await;
    assert_eq!(api.rotate(&id("good")).await.unwrap().version, 2);
    assert_eq!(node.script.count(&Act::Change(key.clone())), 1);
    api.sign(&key, "signing isn't held up").await.unwrap();
    node.script.all_right();
    let (first, second, third) =
        (first.await.unwrap(), second.await.unwrap(), third.await.unwrap());
    assert_eq!((first.version, first.state), (2, KeyState::Active));
    assert_eq!((second.version, second.state), (2, KeyState::Disabled));
    assert_eq!((third.version, third.state), (3, KeyState::Disabled));
}
