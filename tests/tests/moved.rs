//! A key that another backend has after a change of the settings, which pin its public key.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::path::Path;

use kms_backend_keystore::{NewKey, Store};
use kms_keys::KeyType;
use kms_peers::SoftHsm;
use kms_tests::{id, key_file, kms_of, slots, write_secret};
use node_example::proposer::Proposer;
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tempfile::TempDir;

/// Settings with the proposer's key as `key` says.
fn settings(folder: &Path, tokens: [&SoftHsm; 2], key: &str) -> NodeSettings {
    let [hsm, other] = tokens.map(|token| {
        let (module, label) = (SoftHsm::module(), token.label());
        format!(
            "{{ type: pkcs11, module: {}, token: {{ label: {label} }}, pin: {{ file: pin }} }}",
            module.display()
        )
    });
    let text = format!(
        "\
kms:
  backends:
    store: {{ type: keystore, path: store, unlock: {{ key_file: key }}, if_missing: generate }}
    hsm: {hsm}
    other: {other}
  keys:
    - {{ id: node/identity, type: ed25519, backend: store }}
    - {{ id: node/peer, type: ed25519, backend: store }}
    - {{ id: proposer/main, type: secp256k1, {key} }}
    - {{ id: attester/0, type: bls12-381, backend: store }}
    - {{ id: attester/1, type: bls12-381, backend: store }}
    - {{ id: attester/2, type: bls12-381, backend: store }}
    - {{ id: attester/3, type: bls12-381, backend: store }}
identity: {{ key: node/identity, peer: node/peer }}
proposer: {{ key: proposer/main, slot: 5ms }}
attesters: {{ keys: [attester/0, attester/1, attester/2, attester/3] }}
"
    );
    NodeSettings::from_yaml(&text, "settings", folder).unwrap()
}

/// The proposer's public key in a node that proposes, and where it is.
async fn proposer(settings: NodeSettings) -> Result<(String, String), Refusal> {
    let mut node = RunningNode::start(settings).await?;
    slots(&mut node, 2).await;
    let kms = kms_of::<Proposer>(&node).await;
    let info = kms.key_info(&id("proposer/main")).await.unwrap();
    info.public_key
        .verify(info.key_type.default_scheme(), b"m", &kms.sign(&info.id, "m").await.unwrap())
        .unwrap();
    node.stop().await;
    Ok((info.public_key.to_string(), info.backend))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn from_a_store_to_a_token_by_its_pinned_public_key() {
    let (folder, hsm, other) = (TempDir::new().unwrap(), SoftHsm::start(), SoftHsm::start());
    let folder = folder.path();
    write_secret(&folder.join("key"), [7; 32]);
    write_secret(&folder.join("pin"), SoftHsm::PIN);
    let exported = {
        let store = Store::create(&folder.join("store"), &key_file(7)).unwrap();
        let new = NewKey::new(id("proposer/main"), KeyType::Secp256k1).exportable(true);
        store.generate(&[new]).unwrap();
        store.export(&id("proposer/main"), None).unwrap()
    };
    write_secret(&folder.join("exported"), exported.expose_secret().expose());
    let start = |key: &str| proposer(settings(folder, [&hsm, &other], key));

    let (public_key, backend) = start("backend: store").await.unwrap();
    assert_eq!(backend, "store");
    let pin = format!("public_key: \"{public_key}\"");
    // Moved, with what the store gave out; and then without that.
    for source in [", source: { file: exported, encoding: raw }", ""] {
        let moved = start(&format!("backend: hsm, {pin}{source}")).await.unwrap();
        assert_eq!(moved, (public_key.clone(), "hsm".to_owned()));
    }

    // Another backend has made another key of this name meanwhile.
    let (stranger, _) = start("backend: other, if_missing: generate").await.unwrap();
    assert_ne!(stranger, public_key);
    let refused = start(&format!("backend: other, {pin}")).await.unwrap_err();
    assert_eq!((refused.code, refused.failures.len()), (ExitCode::Unavailable, 1), "{refused}");
    let text = refused.to_string();
    for part in ["proposer/main", "backend other", &stranger] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Nor does one that doesn't have it, or has it from elsewhere, get the node to start.
    write_secret(&folder.join("exported"), [9; 32]);
    let refused =
        start(&format!("backend: hsm, {pin}, source: {{ file: exported, encoding: raw }}"));
    assert_eq!(refused.await.unwrap(), (public_key.clone(), "hsm".to_owned()), "it is there");
    assert_eq!(start(&format!("backend: store, {pin}")).await.unwrap().0, public_key, "and back");
}
