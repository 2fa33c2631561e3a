//! A node whose keys live in an encrypted store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::path::Path;
use std::time::Duration;

use kms_backend::{ErrorChain, IfMissing, KeyState, PageRequest};
use kms_backend_keystore::{MasterSecret, Store, UnlockSecret};
use kms_keys::{KeyType, Mnemonic, SigningScheme};
use kms_secrets::SecretBytes;
use kms_service::{KeyFilter, KeyRequest, KmsError};
use kms_tests::{id, kms_of, slots, start_kms, stop_kms, write_secret};
use node_example::attesters::Attesters;
use node_example::identity::Identity;
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tempfile::TempDir;

const SETTINGS: &str = "\
kms:
  backends:
    store: { type: keystore, path: store, unlock: { passphrase: { file: passphrase } }, create: CREATE }
  keys:
    - { id: node/identity, type: ed25519, if_missing: generate }
    - { id: node/peer, type: ed25519, if_missing: generate }
    - { id: proposer/main, type: secp256k1, if_missing: generate }
    - { id: attester/0, type: bls12-381, if_missing: generate }
    - { id: attester/1, type: bls12-381, if_missing: generate }
    - { id: attester/2, type: bls12-381, if_missing: generate }
    - { id: attester/3, type: bls12-381, if_missing: generate }
  limits: { deadline: 10m }
identity: { key: node/identity, peer: node/peer }
proposer: { key: proposer/main, slot: 5ms }
attesters: { keys: [attester/0, attester/1, attester/2, attester/3] }
";

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    passphrase(folder.path(), "correct horse battery staple\n");
    folder
}

fn passphrase(folder: &Path, text: &str) {
    write_secret(&folder.join("passphrase"), text);
}

async fn start(folder: &TempDir, create: bool) -> Result<RunningNode, Refusal> {
    let text = SETTINGS.replace("CREATE", &create.to_string());
    RunningNode::start(NodeSettings::from_yaml(&text, "settings", folder.path())?).await
}

async fn refusal(folder: &TempDir) -> Refusal {
    match start(folder, false).await {
        Ok(_) => panic!("the node started"),
        Err(refusal) => refusal,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_generated_once_and_found_again() {
    let folder = folder();
    let mut node = start(&folder, true).await.unwrap();
    let keys = node.keys().to_vec();
    assert_eq!(keys.len(), 7);
    slots(&mut node, 3).await;
    node.stop().await;

    let mut node = start(&folder, false).await.unwrap();
    assert_eq!(node.keys(), keys);
    slots(&mut node, 3).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_stays_changed() {
    let folder = folder();
    let node = start(&folder, true).await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    let peer = id("node/peer");
    let first = kms.public_key(&peer).await.unwrap();
    let rotated = kms.rotate(&peer).await.unwrap();
    assert_eq!((rotated.version, rotated.state), (2, KeyState::Active));
    let old = kms.sign(&peer, "m").version(1).await.unwrap();
    first.verify(SigningScheme::Ed25519, b"m", &old).unwrap();
    let new = kms.sign(&peer, "m").await.unwrap();
    rotated.public_key.verify(SigningScheme::Ed25519, b"m", &new).unwrap();
    kms.disable(&peer).await.unwrap();

    stop_kms(node.handle()).await;
    start_kms(node.handle()).await;
    let refused = kms.sign(&peer, "m").await.unwrap_err();
    assert!(matches!(refused, KmsError::Disabled { .. }), "{refused:?}");
    kms.enable(&peer).await.unwrap();
    let old = kms.sign(&peer, "m").version(1).await.unwrap();
    first.verify(SigningScheme::Ed25519, b"m", &old).unwrap();
    let listed = kms.list(KeyFilter::default().prefix("node/p"), PageRequest::first(9)).await;
    assert_eq!(listed.unwrap().keys[0].version, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_or_does_not_open_refuses_the_start() {
    let folder = folder();
    let missing = refusal(&folder).await;
    assert_eq!(missing.code, ExitCode::Unavailable);
    assert!(missing.to_string().contains("store does not exist"), "{missing}");
    assert!(!folder.path().join("store").exists(), "nothing was made");

    start(&folder, true).await.unwrap().stop().await;
    passphrase(folder.path(), "wrong");
    let wrong = refusal(&folder).await;
    assert!(wrong.to_string().contains("wrong passphrase or key"), "{wrong}");
    // The store's failure, and each key that it keeps from the node.
    assert_eq!(wrong.failures.len(), 8, "{wrong}");

    passphrase(folder.path(), "correct horse battery staple");
    let node = start(&folder, false).await.unwrap();
    let used = refusal(&folder).await;
    let process = format!("in use by process {}", std::process::id());
    assert!(used.to_string().contains(&process), "{used}");
    node.stop().await;
    start(&folder, false).await.unwrap().stop().await;
}

/// What an operator does to the store while no node has it open.
fn store(folder: &TempDir) -> Store {
    let passphrase = SecretBytes::from_slice(b"correct horse battery staple");
    Store::open(&folder.path().join("store"), &UnlockSecret::Passphrase(passphrase)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_deleted_by_a_service_and_its_operator_together() {
    let folder = folder();
    let spare = id("spare");
    let week = Duration::from_secs(7 * 24 * 3600);
    let node = start(&folder, true).await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    let request = KeyRequest::new("spare", KeyType::Ed25519);
    kms.register(request.clone().if_missing(IfMissing::Generate)).await.unwrap();
    let refused = kms.schedule_delete(&spare, week).await.unwrap_err();
    assert!(ErrorChain(&refused).to_string().contains("protected from deletion"), "{refused:?}");
    kms.sign(&spare, "m").await.unwrap();
    node.stop().await;
    store(&folder).protect(&spare, false).unwrap();

    let node = start(&folder, false).await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    kms.register(request.clone()).await.unwrap();
    let info = kms.schedule_delete(&spare, Duration::ZERO).await.unwrap();
    assert!(matches!(info.state, KeyState::PendingDeletion { .. }), "{info:?}");
    let refused = kms.sign(&spare, "m").await.unwrap_err();
    assert!(matches!(refused, KmsError::PendingDeletion { .. }), "{refused:?}");
    node.stop().await;

    // Its time has come, but the clock alone destroys nothing.
    let node = start(&folder, false).await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    kms.register(request.clone()).await.unwrap();
    assert_eq!(kms.cancel_delete(&spare).await.unwrap().state, KeyState::Disabled);
    kms.schedule_delete(&spare, Duration::ZERO).await.unwrap();
    node.stop().await;

    store(&folder).destroy(&spare).unwrap();
    let node = start(&folder, false).await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    for request in [request.clone(), request.if_missing(IfMissing::Generate)] {
        let refused = kms.register(request).await.unwrap_err();
        assert!(ErrorChain(&refused).to_string().contains("was destroyed"), "{refused:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_of_one_version() {
    let folder = folder();
    let mut node = start(&folder, true).await.unwrap();
    let peer = id("node/peer");
    let kms = kms_of::<Identity>(&node).await;
    let first = kms.public_key(&peer).await.unwrap();
    slots(&mut node, 1).await;
    node.stop().await;

    let second = store(&folder).rotate(&peer).unwrap().public_key;
    let pinned = |pin: &str| {
        let text = SETTINGS.replace("CREATE", "false");
        let unpinned = "node/peer, type: ed25519,";
        assert!(text.contains(unpinned));
        let text = text.replace(unpinned, &format!("{unpinned} public_key: {pin},"));
        NodeSettings::from_yaml(&text, "settings", folder.path()).unwrap()
    };
    let Err(refused) = RunningNode::start(pinned(&first.to_hex())).await else {
        panic!("another version than the pinned one was taken");
    };
    assert!(refused.to_string().contains("node/peer"), "{refused}");
    let node = RunningNode::start(pinned(&second)).await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    kms.sign(&peer, "m").version(1).await.unwrap();
    node.stop().await;
    store(&folder).retire(&peer, 1, true).unwrap();
    let node = RunningNode::start(pinned(&second)).await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    let refused = kms.sign(&peer, "m").version(1).await.unwrap_err();
    assert!(matches!(refused, KmsError::NotFound { version: Some(1), .. }), "{refused:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_derived_when_the_node_starts() {
    let folder = folder();
    start(&folder, true).await.unwrap().stop().await;
    let phrase =
        b"abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                   abandon about";
    let mnemonic = Mnemonic::parse(phrase).unwrap();
    let passphrase = SecretBytes::from_slice(b"");
    let words = MasterSecret::Mnemonic { mnemonic, passphrase };
    store(&folder).add_master(&id("words"), &words, false).unwrap();

    let with = |path: &str| {
        let text = SETTINGS.replace("CREATE", "false").replace(
            "attester/0, type: bls12-381, if_missing: generate",
            &format!("derived/0, type: bls12-381, derive: {{ master: words, path: {path} }}"),
        );
        NodeSettings::from_yaml(&text.replace("[attester/0", "[derived/0"), "s", folder.path())
            .unwrap()
    };
    let mut public_keys = Vec::new();
    for _ in 0..2 {
        let mut node = RunningNode::start(with("m/12381/3600/0/0/0")).await.unwrap();
        slots(&mut node, 2).await;
        let kms = kms_of::<Attesters>(&node).await;
        public_keys.push(kms.public_key(&id("derived/0")).await.unwrap());
        node.stop().await;
    }
    assert_eq!(public_keys[0], public_keys[1]);
    let Err(refused) = RunningNode::start(with("m/12381/3600/1/0/0")).await else {
        panic!("a key of another path was taken");
    };
    let refused = refused.to_string();
    assert!(refused.contains("expected one derived by m/12381/3600/1/0/0"), "{refused}");
}
