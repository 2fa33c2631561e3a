//! Starting: what is refused, how it is told, and that the next start works once the fault is gone.

use std::error::Error;

use kms_backend::BackendError;
use kms_keys::KeyType;
use kms_service::{KmsError, StartupError, StartupFailure};
use serde_json::{Value, json};

use crate::support::*;

/// The service's report in what `start_service` returned.
pub fn report<'a>(error: &'a (dyn Error + 'static)) -> &'a StartupError {
    let mut cause = error;
    loop {
        match cause.downcast_ref() {
            Some(report) => return report,
            None => cause = cause.source().expect("no report in the chain"),
        }
    }
}

async fn refused(node: &TestNode) -> overwatch::overwatch::Error {
    node.start().await.expect_err("it started")
}

fn failures<'a>(error: &'a (dyn Error + 'static)) -> &'a [StartupFailure] {
    match report(error) {
        StartupError::Failures(failures) => failures,
        other => panic!("{other:?}"),
    }
}

/// The one failure of a node with the key `good` alone.
async fn only_failure(node: &TestNode, check: impl FnOnce(&StartupFailure)) {
    let error = refused(node).await;
    let [failure] = failures(&error) else {
        panic!("{error}");
    };
    assert_eq!(failure.backend, "fake");
    check(failure);
}

/// Once the fault is gone the service starts.
async fn mended(node: &TestNode) {
    node.script.all_right();
    node.start().await.unwrap();
    works(&node.api().await).await;
}

pub fn good() -> Value {
    json!([{ "id": "good", "type": "ed25519" }])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_that_fails_is_named() {
    let script = Script::default();
    let keys: Vec<_> = (0..40)
        .map(|number| json!({ "id": format!("key/{number:02}"), "type": "ed25519" }))
        .chain([json!({ "id": "good", "type": "ed25519" })])
        .collect();
    for (number, class) in Does::CLASSES.iter().enumerate() {
        script.when(Act::Register(id(&format!("key/{:02}", number * 4))), Does::Fail(*class));
    }
    let node = TestNode::new(keys.into(), json!({}), &script);
    let error = refused(&node).await;
    let failures = failures(&error);
    assert_eq!(failures.len(), Does::CLASSES.len());
    for (number, failure) in failures.iter().enumerate() {
        let key = id(&format!("key/{:02}", number * 4));
        assert_eq!(failure.key.as_ref(), Some(&key));
        assert!(report(&error).to_string().contains(&format!("\n  {failure}")));
        assert!(failure.to_string().starts_with(&format!("key {key} (backend fake): ")));
    }
    assert_eq!((script.count(&Act::Close), script.count(&Act::Drop)), (1, 1));
    mended(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_public_key_than_the_pinned_one_is_refused() {
    let script = Script::default();
    let pin = |version| {
        let pinned = key_of(&id("good"), KeyType::Ed25519, version).public_key().to_hex();
        json!([{ "id": "good", "type": "ed25519", "public_key": pinned }])
    };
    let node = TestNode::new(pin(2), json!({}), &script);
    let [found, pinned] =
        [1, 2].map(|version| key_of(&id("good"), KeyType::Ed25519, version).public_key().to_hex());
    only_failure(&node, |failure| {
        let wrong = matches!(failure.cause, KmsError::Backend(BackendError::WrongSecret(_)));
        let text = failure.to_string();
        assert!(wrong && text.contains(&found), "{text}");
        // What is pinned stands in the settings, and may be a secret that was pasted there.
        assert!(text.contains("the settings pin") && !text.contains(&pinned), "{text}");
    })
    .await;
    let node = TestNode::new(pin(1), json!({}), &script);
    mended(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_lies_about_a_key_is_refused() {
    let script = Script::default();
    let node = TestNode::new(good(), json!({}), &script);
    for lie in [Lie::Id, Lie::KeyType, Lie::PublicKey] {
        script.when(Act::Register(id("good")), Does::Lie(lie));
        only_failure(&node, |failure| {
            let corrupt = matches!(failure.cause, KmsError::Backend(BackendError::Corrupt(_)));
            assert!(corrupt && failure.key == Some(id("good")), "{failure}");
        })
        .await;
    }
    mended(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_panics_is_an_internal_error_of_that_key() {
    let script = Script::default();
    let node = TestNode::new(good(), json!({}), &script);
    for (act, key) in [(Act::Register(id("good")), Some(id("good"))), (Act::Open, None)] {
        script.all_right();
        script.when(act, Does::Panic);
        let error = refused(&node).await;
        let first = &failures(&error)[0];
        assert_eq!(first.key, key);
        assert!(matches!(first.cause, KmsError::Internal), "{first}");
    }
    mended(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_hangs_is_given_up() {
    let script = Script::default();
    let node = TestNode::new(good(), json!({ "startup": "1s" }), &script);
    for (act, key) in [(Act::Register(id("good")), Some(id("good"))), (Act::Open, None)] {
        script.all_right();
        script.when(act, Does::Stuck);
        let error = refused(&node).await;
        let first = &failures(&error)[0];
        assert_eq!(first.key, key);
        let late = "no answer within 1s (`limits.startup` in the settings)";
        assert!(first.to_string().ends_with(late), "{first}");
        assert!(first.cause.is_retryable());
    }
    assert_eq!(script.count(&Act::Drop), 1, "the one that was opened");
    mended(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_cannot_be_opened_is_named_with_its_keys() {
    let script = Script::default();
    let node = TestNode::new(good(), json!({}), &script);
    script.when(Act::Open, Does::Fail(Does::CLASSES[2]));
    let error = refused(&node).await;
    let [backend, key] = failures(&error) else {
        panic!("{error}");
    };
    assert_eq!(backend.to_string(), "backend fake: scripted");
    assert!(matches!(backend.cause, KmsError::Backend(BackendError::Denied(_))));
    let text = "key good (backend fake): its backend fake could not be opened";
    assert_eq!(key.to_string(), text);
    assert_eq!(script.count(&Act::Register(id("good"))), 0);
    mended(&node).await;
}

#[test]
fn a_current_thread_runtime_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let script = Script::default();
        let node = TestNode::new(good(), json!({}), &script);
        let error = refused(&node).await;
        let report = report(&error);
        assert!(matches!(report, StartupError::CurrentThreadRuntime), "{report}");
        assert_eq!(script.count(&Act::Open), 0);
    });
}
