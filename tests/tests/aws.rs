//! A node with a key that AWS KMS holds.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::time::Duration;

use kms_backend::{HealthLevel, KeyState};
use kms_keys::SigningScheme;
use kms_peers::Ministack;
use kms_service::KmsError;
use kms_tests::{id, kms_of, message, slots, start_kms, stop_kms, verify, write_secret};
use node_example::identity::Identity;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tempfile::TempDir;

const SETTINGS: &str = "\
kms:
  backends:
    store: { type: keystore, path: store, unlock: { passphrase: { file: phrase } }, create: true }
    cloud:
      type: aws
      region: us-east-1
      endpoint_override: ADDRESS
      credentials: { profile: { file: credentials, name: default } }
  keys:
    - { id: far/key, type: ed25519, backend: cloud, if_missing: generate }
    - { id: node/identity, type: ed25519, backend: store, if_missing: generate }
    - { id: node/peer, type: ed25519, backend: store, if_missing: generate }
    - { id: proposer/main, type: secp256k1, backend: cloud, if_missing: generate }
    - { id: attester/0, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/1, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/2, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/3, type: bls12-381, backend: store, if_missing: generate }
identity: { key: node/identity, peer: node/peer }
proposer: { key: proposer/main, slot: 50ms }
attesters: { keys: [attester/0, attester/1, attester/2, attester/3] }
";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_node_proposes_with_a_key_that_it_never_has() {
    let aws = Ministack::start().await;
    let folder = TempDir::new().unwrap();
    write_secret(&folder.path().join("phrase"), "a passphrase");
    let credentials = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    write_secret(&folder.path().join("credentials"), credentials);
    let text = SETTINGS.replace("ADDRESS", &aws.url());
    let settings = NodeSettings::from_yaml(&text, "settings", folder.path()).unwrap();
    let mut node = RunningNode::start(settings).await.unwrap();
    let api = kms_of::<Identity>(&node).await;
    slots(&mut node, 3).await;

    let far = id("far/key");
    let public_key = api.public_key(&far).await.unwrap();
    let many: Vec<_> = (0..40).map(message).collect();
    let outcomes = api.sign_many(&far, None, many.clone()).await.unwrap();
    for (message, outcome) in many.iter().zip(outcomes) {
        verify(&public_key, message, &outcome.unwrap());
    }

    let rotated = api.rotate(&far).await.unwrap();
    assert_eq!(rotated.version, 2);
    let old = api.sign(&far, message(1)).version(1).await.unwrap();
    public_key.verify(SigningScheme::Ed25519, &message(1), &old).unwrap();
    verify(&rotated.public_key, &message(1), &api.sign(&far, message(1)).await.unwrap());

    let week = Duration::from_secs(7 * 86_400);
    let scheduled = api.schedule_delete(&far, week).await.unwrap();
    assert!(matches!(scheduled.state, KeyState::PendingDeletion { .. }), "{scheduled:?}");
    assert!(api.sign(&far, "m").await.is_err());
    stop_kms(node.handle()).await;
    start_kms(node.handle()).await;
    assert_eq!(api.key_info(&far).await.unwrap().state, scheduled.state);
    assert_eq!(api.cancel_delete(&far).await.unwrap().state, KeyState::Disabled);
    assert!(matches!(api.sign(&far, "m").await, Err(KmsError::Disabled { .. })));
    assert_eq!(api.enable(&far).await.unwrap().public_key, rotated.public_key);
    assert_eq!(api.health().await.unwrap().backends["cloud"].level, HealthLevel::Ok);
    slots(&mut node, 3).await;

    // AWS that is gone is told of as such.
    drop(aws);
    assert!(api.sign(&far, "m").await.unwrap_err().is_retryable());
    node.stop().await;
}
