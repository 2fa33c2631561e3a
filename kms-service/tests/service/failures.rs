//! What backends, signers and operators do wrong, as their callers see it – and that the next good
//! request works.

use kms_backend::BackendError;
use kms_keys::KeyType;
use kms_service::{KeyRequest, KmsApi, KmsError};
use serde_json::json;

use crate::support::*;

async fn node() -> (TestNode, KmsApi) {
    let keys = json!([
        { "id": "good", "type": "ed25519" },
        { "id": "bls", "type": "bls12-381" },
        { "id": "far", "type": "ed25519" }
    ]);
    let script = Script::default();
    script.remote(&id("far"));
    let node = TestNode::started_with(keys, json!({}), &script).await;
    let api = node.api().await;
    (node, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backends_failure_keeps_its_class() {
    let (node, api) = node().await;
    for class in Does::CLASSES {
        node.script.when(Act::Sign(id("far")), Does::Fail(*class));
        node.script.when(Act::Sign(id("bls")), Does::Fail(*class));
        let remote = api.sign(&id("far"), "m").await.map(drop);
        let local = api.sign(&id("bls"), "m").await.map(drop);
        let all = api.sign_aggregate(&ids(["bls"]), "m").await.map(drop);
        let many =
            api.sign_many(&id("far"), None, vec![vec![1]]).await.unwrap().remove(0).map(drop);
        for refused in [remote, local, all, many] {
            passed_on(refused.unwrap_err(), class());
        }
        works(&api).await;
    }
    for class in Does::CLASSES {
        node.script.when(Act::Change(id("good")), Does::Fail(*class));
        node.script.when(Act::Register(id("new")), Does::Fail(*class));
        let changed = api.rotate(&id("good")).await.map(drop);
        let registered = api.register(KeyRequest::new("new", KeyType::Ed25519)).await.map(drop);
        for refused in [changed, registered] {
            match (refused.unwrap_err(), class()) {
                (KmsError::Unsupported { operation, .. }, BackendError::Unsupported(expected)) => {
                    assert_eq!(operation, expected);
                }
                (error, class) => passed_on(error, class),
            }
        }
        works(&api).await;
    }
}

fn passed_on(error: KmsError, class: BackendError) {
    assert_eq!(error.is_retryable(), class.is_retryable());
    let KmsError::Backend(found) = error else {
        panic!("{error:?}");
    };
    assert_eq!(format!("{found:?}"), format!("{class:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bugs_of_others_are_internal_errors() {
    let (node, api) = node().await;
    let good = id("good");
    for operator in [PANICS, OVERFLOWS] {
        let refused = api.execute(&good, operator, []).await.unwrap_err();
        assert!(matches!(refused, KmsError::Internal), "{refused:?}");
        assert!(!refused.is_retryable());
        works(&api).await;
    }
    node.script.when(Act::Sign(id("bls")), Does::Panic);
    node.script.when(Act::Sign(id("far")), Does::Panic);
    node.script.when(Act::Change(id("good")), Does::Panic);
    node.script.when(Act::Register(id("new")), Does::Panic);
    for refused in [
        api.sign(&id("bls"), "m").await.map(drop),
        api.sign(&id("far"), "m").await.map(drop),
        api.rotate(&good).await.map(drop),
        api.register(KeyRequest::new("new", KeyType::Ed25519)).await.map(drop),
    ] {
        assert_refused!(refused, KmsError::Internal);
        works(&api).await;
    }
    assert_eq!(api.health().await.unwrap().counters.panics, 5);
}
