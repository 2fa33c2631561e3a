//! A node whose store a key of a Vault server opens.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use kms_peers::Bao;
use kms_tests::{id, kms_of, message, slots, verify, write_secret};
use node_example::identity::Identity;
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tempfile::TempDir;

const SETTINGS: &str = "\
kms:
  backends:
    store:
      type: keystore
      path: store
      create: true
      unlock: { vault: { address: ADDRESS, allow_http: true, auth: { token: { file: token } }, key: node } }
  keys:
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

const MAY: &str = r#"path "transit/+/node" { capabilities = ["update"] }"#;

const MAY_NOT: &str = r#"path "transit/+/other" { capabilities = ["update"] }"#;

async fn start(folder: &TempDir, bao: &Bao) -> Result<RunningNode, Refusal> {
    let text = SETTINGS.replace("ADDRESS", &bao.url());
    let settings = NodeSettings::from_yaml(&text, "settings", folder.path()).unwrap();
    RunningNode::start(settings).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_node_starts_by_itself_for_as_long_as_it_may() {
    let bao = Bao::dev().await;
    bao.must(&["secrets", "enable", "transit"]);
    bao.must(&["write", "-f", "transit/keys/node"]);
    bao.policy("node", MAY);
    let folder = TempDir::new().unwrap();
    write_secret(&folder.path().join("token"), bao.token(&["node"], "1h"));

    let mut node = start(&folder, &bao).await.unwrap();
    let attester = id("attester/0");
    let public_key = kms_of::<Identity>(&node).await.public_key(&attester).await.unwrap();
    slots(&mut node, 3).await;

    // Taken away while it runs: it has its keys, and goes on.
    bao.policy("node", MAY_NOT);
    slots(&mut node, 3).await;
    node.stop().await;

    let refused = start(&folder, &bao).await.err().unwrap();
    assert_eq!(refused.code, ExitCode::Unavailable);
    let text = refused.to_string();
    for part in ["store", "unlocker \"first\"", "key node of mount transit", "permission denied"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    bao.policy("node", MAY);
    let mut node = start(&folder, &bao).await.unwrap();
    let api = kms_of::<Identity>(&node).await;
    assert_eq!(api.public_key(&attester).await.unwrap(), public_key);
    verify(&public_key, &message(0), &api.sign(&attester, message(0)).await.unwrap());
    slots(&mut node, 3).await;
    node.stop().await;
}
