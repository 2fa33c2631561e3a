//! The errors of each operation's own, and that the next good request works.

use std::error::Error;

use kms_backend::{ErrorChain, Operation};
use kms_keys::{KeyType, OperatorError, SigningScheme};
use kms_service::{KeyRequest, KmsApi, KmsError};
use serde_json::json;

use crate::support::*;

async fn node() -> (TestNode, KmsApi) {
    let keys = json!([
        { "id": "good", "type": "ed25519" },
        { "id": "ec", "type": "secp256k1", "schemes": ["ecdsa-sha256", "ecdsa-digest"] },
        { "id": "bls", "type": "bls12-381" },
        { "id": "far", "type": "ed25519" },
        { "id": "far-bls", "type": "bls12-381" },
        { "id": "private", "type": "ed25519", "callers": ["Proposer"] },
        { "id": "private-bls", "type": "bls12-381", "callers": ["Proposer"] }
    ]);
    let script = Script::default();
    script.remote(&id("far"));
    script.remote(&id("far-bls"));
    let node = TestNode::started_with(keys, json!({}), &script).await;
    let api = node.api().await;
    (node, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_not_found_by_any_operation() {
    let (_node, api) = node().await;
    let none = id("none");
    let errors = [
        api.public_key(&none).await.unwrap_err(),
        api.key_info(&none).await.unwrap_err(),
        api.sign(&none, "m").await.unwrap_err(),
        api.sign_many(&none, None, vec![vec![1]]).await.unwrap_err(),
        api.sign_aggregate(&ids(["bls", "none"]), "m").await.unwrap_err(),
        api.execute(&none, "x25519", [9; 32]).await.unwrap_err(),
        api.rotate(&none).await.unwrap_err(),
        api.disable(&none).await.unwrap_err(),
        api.enable(&none).await.unwrap_err(),
        api.schedule_delete(&none, std::time::Duration::ZERO).await.unwrap_err(),
        api.cancel_delete(&none).await.unwrap_err(),
    ];
    for error in errors {
        let KmsError::NotFound { id, version: None } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*id, none);
        assert!(!error.is_retryable());
        works(&api).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_current_is_not_found() {
    let (_node, api) = node().await;
    for version in [0, 2, u32::MAX] {
        let refused = api.sign(&id("good"), "m").version(version).await;
        assert_refused!(refused, KmsError::NotFound { version: Some(found), .. } if found == version);
        works(&api).await;
    }
    api.sign(&id("good"), "m").version(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_a_mismatch() {
    let (_node, api) = node().await;
    let registered = api.register(KeyRequest::new("good", KeyType::Secp256k1)).await.map(drop);
    let aggregated = api.sign_aggregate(&ids(["bls", "good"]), "m").await.map(drop);
    let executed = api.execute(&id("ec"), "x25519", [9; 32]).await.map(drop);
    for (refused, wanted, is) in [
        (registered, KeyType::Secp256k1, KeyType::Ed25519),
        (aggregated, KeyType::Bls12381, KeyType::Ed25519),
        (executed, KeyType::Ed25519, KeyType::Secp256k1),
    ] {
        assert_refused!(
            refused,
            KmsError::TypeMismatch { expected, found, .. } if (expected, found) == (wanted, is)
        );
        works(&api).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheme_that_is_not_listed_is_not_signed_under() {
    let (_node, api) = node().await;
    for (key, scheme) in [
        ("good", SigningScheme::EcdsaSha256),
        ("ec", SigningScheme::Bip340),
        ("bls", SigningScheme::BlsBasic),
    ] {
        let one = api.sign(&id(key), [0; 32]).scheme(scheme).await.map(drop);
        let many = api.sign_many(&id(key), Some(scheme), vec![vec![0; 32]]).await.map(drop);
        for refused in [one, many] {
            let wanted = scheme;
            assert_refused!(refused, KmsError::SchemeNotAllowed { scheme, .. } if scheme == wanted);
        }
        works(&api).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_not_listed_learns_the_public_key_and_no_more() {
    let (node, api) = node().await;
    let (private, private_bls) = (id("private"), id("private-bls"));
    let request = || KeyRequest::new("private", KeyType::Ed25519);
    let refusals = [
        api.sign(&private, "m").await.map(drop),
        api.sign_many(&private, None, vec![vec![1]]).await.map(drop),
        api.sign_aggregate(&[id("bls"), private_bls.clone()], "m").await.map(drop),
        api.execute(&private, "x25519", [9; 32]).await.map(drop),
        api.register(request()).await.map(drop),
        api.rotate(&private).await.map(drop),
        api.disable(&private).await.map(drop),
    ];
    for refused in refusals {
        assert_refused!(
            refused,
            KmsError::CallerNotAllowed { caller, .. } if caller.as_str() == "Identity"
        );
        works(&api).await;
    }
    assert_eq!(node.script.count(&Act::Change(private.clone())), 0);
    api.public_key(&private).await.unwrap();

    let proposer = node.proposer().await;
    proposer.register(request()).await.unwrap().sign("m").await.unwrap();
    proposer.sign_aggregate(&[id("bls"), private_bls], "m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_signer_elsewhere_cannot_do_is_unsupported() {
    let (_node, api) = node().await;
    let executed = api.execute(&id("far"), "x25519", [9; 32]).await.map(drop);
    let aggregated = api.sign_aggregate(&ids(["bls", "far-bls"]), "m").await.map(drop);
    for (refused, wanted) in [(executed, Operation::Execute), (aggregated, Operation::Aggregate)] {
        assert_refused!(
            refused,
            KmsError::Unsupported { operation, .. } if operation == wanted
        );
        works(&api).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_backend_is_not_asked_for_what_it_cannot_do() {
    let script = Script::default();
    let keys = json!([{ "id": "good", "type": "ed25519" }]);
    let settings = settings_of(json!({ "plain": true }), keys, json!({}), &script);
    let node = TestNode::run(settings, &script, Some(tokio::runtime::Handle::current()));
    node.start().await.unwrap();
    let api = node.api().await;
    let good = id("good");
    let wait = std::time::Duration::ZERO;
    for (refused, wanted) in [
        (api.rotate(&good).await, Operation::Rotate),
        (api.disable(&good).await, Operation::Disable),
        (api.enable(&good).await, Operation::Enable),
        (api.schedule_delete(&good, wait).await, Operation::ScheduleDelete),
        (api.cancel_delete(&good).await, Operation::CancelDelete),
    ] {
        assert_refused!(
            refused,
            KmsError::Unsupported { operation, .. } if operation == wanted
        );
        works(&api).await;
    }
    assert_eq!(script.count(&Act::Change(good)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_found_by_name_and_their_refusals_passed_on() {
    let (_node, api) = node().await;
    let good = id("good");
    let long = "x".repeat(1000);
    let refused = api.execute(&good, &long, [9; 32]).await;
    assert_refused!(refused, KmsError::UnknownOperator { name } if name.len() == 64);
    works(&api).await;

    let refused = api.execute(&good, REFUSES, []).await;
    assert_refused!(refused, KmsError::Operator(OperatorError::Refused(_)));
    let refused = api.execute(&good, "x25519", [9; 31]).await;
    assert_refused!(refused, KmsError::Operator(OperatorError::InvalidInput { .. }));
    // A point of low order.
    let refused = api.execute(&good, "x25519", [0; 32]).await.unwrap_err();
    assert!(refused.source().is_some(), "{refused:?}");
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_a_scheme_does_not_take_is_named() {
    let (node, api) = node().await;
    for len in [0, 31, 33] {
        let digest = SigningScheme::EcdsaDigest;
        let refused = api.sign(&id("ec"), vec![7; len]).scheme(digest).await.unwrap_err();
        assert_eq!(
            ErrorChain(&refused).to_string(),
            format!("invalid input: ecdsa-digest signs exactly 32 bytes, the message has {len}")
        );
        works(&api).await;
    }
    let proof = SigningScheme::BlsPopProve;
    let refused = api.sign(&id("bls"), "m").scheme(proof).await;
    assert_refused!(refused, KmsError::InvalidInput { .. });
    assert_refused!(api.sign_aggregate(&[], "m").await, KmsError::InvalidInput { .. });
    works(&api).await;
    assert_eq!(node.script.count(&Act::Sign(id("ec"))), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_none_is_refused_before_anything_is_sent() {
    let (_node, api) = node().await;
    for text in ["", "a//b", "../up", "ä", " good"] {
        let refused = api.register(KeyRequest::new(text, KeyType::Ed25519)).await;
        assert_refused!(refused, KmsError::InvalidKeyId(_));
        works(&api).await;
    }
}
