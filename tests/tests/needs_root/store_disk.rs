//! Disks that are full, or may only be read.

use std::fs;
use std::path::Path;

use kms_backend::{ErrorChain, HealthLevel, IfMissing};
use kms_backend_keystore::{NewKey, Store, StoreError};
use kms_keys::{KeyType, SigningScheme};
use kms_service::{KeyRequest, KmsError};
use kms_tests::{SmallDisk, id, key_file, kms_of, proved, write_secret};
use node_example::identity::Identity;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;

use crate::disk::fill;

const SETTINGS: &str = "\
kms:
  backends:
    store:
      { type: keystore, path: store, unlock: { key_file: key }, create: true, if_missing: generate }
  keys:
    - { id: node/identity, type: ed25519 }
    - { id: node/peer, type: ed25519 }
    - { id: proposer/main, type: secp256k1 }
    - { id: attester/0, type: bls12-381 }
identity: { key: node/identity, peer: node/peer }
proposer: { key: proposer/main, slot: 5ms }
attesters: { keys: [attester/0] }
";

fn write_key_file(folder: &Path) {
    write_secret(&folder.join("key"), [7; 32]);
}

#[test]
#[ignore = "needs root, to mount a small file system"]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    let disk = SmallDisk::new(3000);
    let path = disk.path().join("store");
    let store = Store::create(&path, &key_file(7)).unwrap();
    let mut stored = 0;
    let refused = loop {
        let new = (0..100).map(|n| NewKey::new(id(&format!("{stored:06}/{n}")), KeyType::Ed25519));
        match store.generate(&new.collect::<Vec<_>>()) {
            Ok(keys) => stored += keys.len(),
            Err(refused) => break refused,
        }
    };
    let text = ErrorChain(&refused).to_string();
    assert!(text.contains("can't be written") && text.contains("No space left"), "{text}");
    assert!(stored >= 500, "only {stored} keys have place on the disk");
    assert_eq!(proved(&store), stored, "what was there is there");
    assert!(store.failure().unwrap().contains("No space left"));
    drop(store);

    let store = Store::open(&path, &key_file(7)).unwrap();
    assert_eq!(proved(&store), stored);
    store.disable(&id("000000/0")).unwrap();
    drop(store);

    fill(disk.path());
    let refused = Store::create(&disk.path().join("other"), &key_file(7)).unwrap_err();
    assert!(ErrorChain(&refused).to_string().contains("No space left"), "{refused:?}");
    assert!(!disk.path().join("other").exists(), "half a store was left behind");
    let unfinished =
        |file: &fs::DirEntry| file.file_name().to_string_lossy().contains("unfinished");
    let left = fs::read_dir(disk.path()).unwrap().filter(|file| unfinished(file.as_ref().unwrap()));
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount a small file system"]
async fn a_node_on_a_full_disk_signs_with_what_it_has() {
    let disk = SmallDisk::new(3000);
    write_key_file(disk.path());
    let settings = NodeSettings::from_yaml(SETTINGS, "settings", disk.path()).unwrap();
    let node = RunningNode::start(settings).await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    fill(disk.path());

    let mut stored = Vec::new();
    let refused = loop {
        let name = format!("new/{}", stored.len());
        let request = KeyRequest::new(name, KeyType::Ed25519).if_missing(IfMissing::Generate);
        match kms.register(request).await {
            Ok(key) => stored.push(key),
            Err(refused) => break refused,
        }
        assert!(stored.len() < 10_000, "the disk is never full");
    };
    assert!(matches!(refused, KmsError::Backend(_)) && refused.is_retryable(), "{refused:?}");
    assert!(ErrorChain(&refused).to_string().contains("No space left"), "{refused}");
    let health = kms.health().await.unwrap();
    assert_eq!(health.backends["store"].level, HealthLevel::Degraded, "{health:?}");

    let identity = id("node/identity");
    let public_key = kms.public_key(&identity).await.unwrap();
    for round in 0..20 {
        let message = format!("round {round}");
        let signature = kms.sign(&identity, message.clone()).await.unwrap();
        public_key.verify(SigningScheme::Ed25519, message.as_bytes(), &signature).unwrap();
    }
    for key in &stored {
        key.sign("m").await.unwrap();
    }

    // With room again it goes on by itself.
    fs::remove_file(disk.path().join("filler")).unwrap();
    kms.rotate(&identity).await.unwrap();
    let health = kms.health().await.unwrap();
    assert_eq!(health.backends["store"].level, HealthLevel::Ok, "{health:?}");
    node.stop().await;
    drop(kms);
    drop(stored);
    let store = Store::open(&disk.path().join("store"), &key_file(7)).unwrap();
    assert_eq!(store.versions(&identity).unwrap().len(), 2);
    proved(&store);
}

#[test]
#[ignore = "needs root, to mount a small file system"]
fn a_read_only_mount_can_be_read_and_says_why_not_written() {
    let disk = SmallDisk::new(3000);
    let path = disk.path().join("store");
    let store = Store::create(&path, &key_file(7)).unwrap();
    store.generate(&[NewKey::new(id("a"), KeyType::Secp256k1)]).unwrap();
    drop(store);
    disk.make_read_only();
    let store = Store::open_read_only(&path, &key_file(7)).unwrap();
    assert_eq!(proved(&store), 1);
    let refused = Store::open(&path, &key_file(7)).unwrap_err();
    assert!(matches!(refused, StoreError::Io { .. }), "{refused:?}");
    assert!(ErrorChain(&refused).to_string().contains("Read-only file system"), "{refused:?}");
    let refused = Store::create(&disk.path().join("new"), &key_file(7)).unwrap_err();
    assert!(ErrorChain(&refused).to_string().contains("Read-only file system"), "{refused:?}");
}
