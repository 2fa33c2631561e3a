//! What a backup brings back.

use std::time::Duration;

use kms_backend_keystore::{MasterSecret, Store, StoreError};
use kms_keys::{KeyType, Seed};

use crate::support::Folder;
use crate::{filled, id, key_file, new, passphrase, proved};

#[test]
fn a_backup_brings_everything_back() {
    let folder = Folder::new();
    let store = filled(&folder);
    store.rotate(&id("key/ed25519")).unwrap();
    store.retire(&id("key/ed25519"), 1, true).unwrap();
    store.disable(&id("key/secp256k1")).unwrap();
    store.protect(&id("key/bls12-381"), false).unwrap();
    let seed = MasterSecret::Seed(Seed::from_bytes(&[1; 32]).unwrap());
    store.add_master(&id("seed"), &seed, true).unwrap();
    let all = |store: &Store| {
        let keys = store.page(None, 99).unwrap();
        let versions: Vec<_> =
            keys.iter().flat_map(|key| store.versions(&key.id).unwrap()).collect();
        (versions, store.masters().unwrap())
    };
    let path = folder.path("backup");
    assert_eq!(store.backup(&path, &passphrase("for the safe")).unwrap(), 5);
    let exists = store.backup(&path, &passphrase("other")).unwrap_err();
    assert!(matches!(exists, StoreError::Exists { .. }), "{exists:?}");

    let backup = Store::open_read_only(&path, &passphrase("for the safe")).unwrap();
    assert_eq!(all(&backup), all(&store));
    let empty = Store::create(&folder.path("new"), &key_file(9)).unwrap();
    let mut seen = 0;
    let plan = empty.plan_restore(&backup, || seen += 1).unwrap();
    assert_eq!((plan.add.len(), plan.present.len(), plan.masters.len(), seen), (3, 0, 1, 4));
    empty.restore(&backup, &plan).unwrap();
    assert_eq!(all(&empty), all(&store));
    assert_eq!(proved(&empty), 4);
    let plan = empty.plan_restore(&backup, || {}).unwrap();
    assert_eq!((plan.add.len(), plan.present.len(), plan.masters.len()), (0, 3, 0));
    empty.restore(&backup, &plan).unwrap();
    assert_eq!(all(&empty), all(&store));
}

#[test]
fn restoring_says_what_it_revives_and_refuses_other_keys() {
    let folder = Folder::new();
    let store = filled(&folder);
    store.backup(&folder.path("backup"), &key_file(5)).unwrap();
    let backup = Store::open_read_only(&folder.path("backup"), &key_file(5)).unwrap();
    let key = id("key/ed25519");
    let before = store.versions(&key).unwrap();
    store.rotate(&key).unwrap();
    store.protect(&key, false).unwrap();
    store.schedule_delete(&key, Duration::ZERO).unwrap();
    let plan = store.plan_restore(&backup, || {}).unwrap();
    assert!(plan.revive.is_empty() && plan.present.contains(&key), "its deletion can be cancelled");
    store.destroy(&key).unwrap();
    let plan = store.plan_restore(&backup, || {}).unwrap();
    assert_eq!(plan.revive.iter().collect::<Vec<_>>(), [&key]);
    store.restore(&backup, &plan).unwrap();
    assert_eq!(store.versions(&key).unwrap(), before);
    assert_eq!(proved(&store), 3);

    let other = Store::create(&folder.path("other"), &key_file(7)).unwrap();
    other.generate(&[new("key/ed25519", KeyType::Ed25519)]).unwrap();
    let refused = other.plan_restore(&backup, || {}).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Conflict(ids) if ids == &["key/ed25519"]),
        "{refused:?}"
    );
}

#[test]
fn newer_versions_come_back_from_a_backup() {
    let folder = Folder::new();
    let store = filled(&folder);
    store.backup(&folder.path("older"), &key_file(7)).unwrap();
    store.rotate(&id("key/ed25519")).unwrap();
    store.backup(&folder.path("newer"), &key_file(7)).unwrap();
    let newer = Store::open_read_only(&folder.path("newer"), &key_file(7)).unwrap();
    let old = Store::open(&folder.path("older"), &key_file(7)).unwrap();
    let plan = old.plan_restore(&newer, || {}).unwrap();
    assert_eq!((plan.newer.len(), plan.present.len()), (1, 2));
    old.restore(&newer, &plan).unwrap();
    assert_eq!(
        old.versions(&id("key/ed25519")).unwrap(),
        store.versions(&id("key/ed25519")).unwrap()
    );
    assert_eq!(proved(&old), 4);
}
