//! A node with a key that a Vault server holds.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use kms_backend::{HealthLevel, KeyState};
use kms_keys::SigningScheme;
use kms_peers::Bao;
use kms_service::KmsError;
use kms_tests::{id, kms_of, message, slots, start_kms, stop_kms, verify, write_secret};
use node_example::identity::Identity;
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tempfile::TempDir;

const SETTINGS: &str = "\
kms:
  backends:
    store: { type: keystore, path: store, unlock: { passphrase: { file: token } }, create: true }
    vault: { type: vault, address: ADDRESS, allow_http: true, auth: { token: { file: token } } }
  keys:
    - { id: far/key, type: TYPE, backend: vault, if_missing: generate }
    - { id: node/identity, type: ed25519, backend: store, if_missing: generate }
    - { id: node/peer, type: ed25519, backend: store, if_missing: generate }
    - { id: proposer/main, type: secp256k1, backend: store, if_missing: generate }
    - { id: attester/0, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/1, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/2, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/3, type: bls12-381, backend: store, if_missing: generate }
identity: { key: node/identity, peer: node/peer }
proposer: { key: proposer/main, slot: 5ms }
attesters: { keys: [attester/0, attester/1, attester/2, attester/3] }
";

fn settings(folder: &TempDir, address: &str, key_type: &str) -> Result<NodeSettings, Refusal> {
    let text = SETTINGS.replace("ADDRESS", address).replace("TYPE", key_type);
    NodeSettings::from_yaml(&text, "settings", folder.path())
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_secret(&folder.path().join("token"), "root");
    folder
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_node_signs_with_a_key_that_it_never_has() {
    let bao = Bao::dev().await;
    bao.must(&["secrets", "enable", "transit"]);
    let folder = folder();
    let settings = settings(&folder, &bao.url(), "ed25519").unwrap();
    let mut node = RunningNode::start(settings).await.unwrap();
    let api = kms_of::<Identity>(&node).await;
    slots(&mut node, 3).await;

    let far = id("far/key");
    let public_key = api.public_key(&far).await.unwrap();
    verify(&public_key, &message(0), &api.sign(&far, message(0)).await.unwrap());
    let many: Vec<_> = (0..300).map(message).collect();
    let outcomes = api.sign_many(&far, None, many.clone()).await.unwrap();
    assert_eq!(outcomes.len(), many.len());
    for (message, outcome) in many.iter().zip(outcomes) {
        verify(&public_key, message, &outcome.unwrap());
    }

    let rotated = api.rotate(&far).await.unwrap();
    assert_eq!(rotated.version, 2);
    let old = api.sign(&far, message(1)).version(1).await.unwrap();
    public_key.verify(SigningScheme::Ed25519, &message(1), &old).unwrap();
    verify(&rotated.public_key, &message(1), &api.sign(&far, message(1)).await.unwrap());

    assert_eq!(api.disable(&far).await.unwrap().state, KeyState::Disabled);
    assert!(matches!(api.sign(&far, "m").await, Err(KmsError::Disabled { .. })));
    stop_kms(node.handle()).await;
    start_kms(node.handle()).await;
    assert_eq!(api.key_info(&far).await.unwrap().state, KeyState::Disabled);
    assert_eq!(api.enable(&far).await.unwrap().public_key, rotated.public_key);
    assert_eq!(api.health().await.unwrap().backends["vault"].level, HealthLevel::Ok);

    // A server that is gone keeps nobody else from signing.
    drop(bao);
    assert!(api.sign(&far, "m").await.unwrap_err().is_retryable());
    slots(&mut node, 3).await;
    node.stop().await;
}

#[tokio::test]
async fn a_key_that_transit_does_not_know_is_refused_with_the_settings() {
    for key_type in ["secp256k1", "bls12-381"] {
        let refused = settings(&folder(), "http://127.0.0.1:1", key_type).err().unwrap();
        assert_eq!(refused.code, ExitCode::Settings);
        let text = refused.to_string();
        assert!(text.contains("far/key") && text.contains("vault"), "{text}");
    }
}
