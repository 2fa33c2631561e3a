//! Registering keys and asking about them, and how the service says it is.

use kms_backend::{BackendError, HealthLevel, IfMissing, KeyState, PageRequest};
use kms_keys::KeyType;
use kms_service::{KeyFilter, KeyRequest, KmsError};
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_loaded_once_and_known_from_then_on() {
    let node = TestNode::started(json!([])).await;
    let api = node.api().await;
    let request = KeyRequest::new("node/identity", KeyType::Ed25519);
    let key = api.register(request.clone()).await.unwrap();
    let expected = key_of(key.id(), KeyType::Ed25519, 1).public_key();
    assert_eq!(*key.public_key(), expected);
    let info = key.info();
    assert_eq!(info.id, id("node/identity"));
    assert_eq!((info.key_type, info.version), (KeyType::Ed25519, 1));
    assert_eq!((info.state, info.backend.as_str()), (KeyState::Active, "fake"));

    let again = node.proposer().await.register(request).await.unwrap();
    assert_eq!(again.info(), info);
    assert_eq!(node.script.count(&Act::Register(info.id.clone())), 1);
    assert_eq!(api.public_key(&info.id).await.unwrap(), expected);
    assert_eq!(api.key_info(&info.id).await.unwrap(), *info);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_is_generated_only_if_the_request_says_so() {
    let node = TestNode::started(json!([])).await;
    let api = node.api().await;
    node.script.missing(&id("new"));
    let request = KeyRequest::new("new", KeyType::Secp256k1);
    let refused = api.register(request.clone()).await.map(drop);
    assert_refused!(refused, KmsError::Backend(BackendError::NotFound(_)));
    assert_refused!(api.key_info(&id("new")).await, KmsError::NotFound { .. });

    let generate = request.clone().if_missing(IfMissing::Generate);
    let made = api.register(generate).await.unwrap();
    let loaded = api.register(request).await.unwrap();
    assert_eq!(made.info(), loaded.info());
    made.sign("m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_register_one_key_at_once_get_one_key() {
    let node = TestNode::started(json!([])).await;
    node.script.missing(&id("new"));
    // Nobody is answered before all have asked.
    node.script.when(Act::Register(id("new")), Does::Stuck);
    let api = node.api().await;
    let request = KeyRequest::new("new", KeyType::Ed25519).if_missing(IfMissing::Generate);
    let mut asked = Vec::new();
    for _ in 0..32 {
        asked.push(sent(api.register(request.clone())).await);
    }
    let mismatch = sent(api.register(KeyRequest::new("new", KeyType::Bls12381))).await;
    node.script.seen(Act::Register(id("new")), 1).await;
    node.script.all_right();
    for answer in asked {
        let key = answer.await.unwrap();
        assert_eq!(*key.public_key(), key_of(&id("new"), KeyType::Ed25519, 1).public_key());
    }
    assert_refused!(mismatch.await, KmsError::TypeMismatch { .. });
    assert_eq!(node.script.count(&Act::Register(id("new"))), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_gives_another_key_is_not_believed() {
    let node = TestNode::started(json!([{ "id": "good", "type": "ed25519" }])).await;
    let api = node.api().await;
    for lie in [Lie::Id, Lie::KeyType, Lie::PublicKey] {
        node.script.when(Act::Register(id("new")), Does::Lie(lie));
        let refused = api.register(KeyRequest::new("new", KeyType::Ed25519)).await.map(drop);
        assert_refused!(refused, KmsError::Backend(BackendError::Corrupt(_)));
        assert_refused!(api.key_info(&id("new")).await, KmsError::NotFound { .. });
        assert_refused!(api.key_info(&id("another")).await, KmsError::NotFound { .. });
        works(&api).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_backend_can_hold_is_refused() {
    let script = Script::default();
    let backend = json!({ "only": ["ed25519"] });
    let settings = settings_of(backend, json!([]), json!({}), &script);
    let node = TestNode::run(settings, &script, Some(tokio::runtime::Handle::current()));
    node.start().await.unwrap();
    let api = node.api().await;
    let refused = api.register(KeyRequest::new("bls", KeyType::Bls12381)).await.map(drop);
    assert_refused!(refused, KmsError::Backend(BackendError::Misconfigured(_)));
    assert_eq!(script.count(&Act::Register(id("bls"))), 0);
    api.register(KeyRequest::new("ed", KeyType::Ed25519)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_come_in_pages() {
    let keys = json!([
        { "id": "b/2", "type": "ed25519" },
        { "id": "a/1", "type": "ed25519", "callers": ["Proposer"] },
        { "id": "b/1", "type": "bls12-381" },
        { "id": "b/3", "type": "secp256k1" },
        { "id": "c", "type": "ed25519" }
    ]);
    let node = TestNode::started(keys).await;
    let api = node.api().await;
    let listed = async |filter: KeyFilter, size| {
        let mut ids = Vec::new();
        let mut page = PageRequest::first(size);
        loop {
            let found = api.list(filter.clone(), page.clone()).await.unwrap();
            assert!(found.keys.len() <= size.max(1));
            ids.extend(found.keys.iter().map(|key| key.id.to_string()));
            match found.next {
                Some(next) => page.after = Some(next),
                None => return ids,
            }
        }
    };
    for size in [0, 1, 2, 4, 5, 6, usize::MAX] {
        assert_eq!(listed(KeyFilter::default(), size).await, ["a/1", "b/1", "b/2", "b/3", "c"]);
        assert_eq!(listed(KeyFilter::default().prefix("b/"), size).await, ["b/1", "b/2", "b/3"]);
        let ed25519 = KeyFilter::default().key_type(KeyType::Ed25519);
        assert_eq!(listed(ed25519.clone(), size).await, ["a/1", "b/2", "c"]);
        assert_eq!(listed(ed25519.prefix("b"), size).await, ["b/2"]);
        assert_eq!(listed(KeyFilter::default().prefix("d"), size).await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_levels_reasons_and_counts() {
    let node = TestNode::started(json!([{ "id": "good", "type": "ed25519" }])).await;
    let api = node.api().await;
    let well = api.health().await.unwrap();
    assert_eq!((well.level, well.keys), (HealthLevel::Ok, 1));
    assert_eq!(well.counters, kms_service::Counters::default());
    assert_eq!(well.backends["fake"].reasons, [""; 0]);
    // The metrics ask as well, when the service starts, and are to see nothing of what comes now.
    node.script.seen(Act::Health, 2).await;

    let unwell = [
        (Does::Fail(Does::CLASSES[0]), HealthLevel::Degraded, "scripted", 0),
        (Does::Panic, HealthLevel::Failed, "panicked when asked", 1),
        (Does::Stuck, HealthLevel::Failed, "no answer within 2s", 1),
    ];
    for (does, level, reason, panics) in unwell {
        node.script.when(Act::Health, does);
        let report = api.health().await.unwrap();
        assert_eq!((report.level, report.backends["fake"].level), (level, level));
        assert_eq!(report.backends["fake"].reasons, [reason]);
        assert_eq!(report.counters.panics, panics);
        works(&api).await;
    }
    node.script.all_right();
    assert_eq!(api.health().await.unwrap().level, HealthLevel::Ok);
}
