//! Keys are made, numbered, retired, destroyed and derived.

use std::time::Duration;

use kms_backend::Derivation;
use kms_backend_keystore::{MasterKind, MasterSecret, Store, StoreError, StoredState};
use kms_keys::{KeyType, Mnemonic, SecretKey, Seed};
use kms_secrets::SecretBytes;

use crate::support::Folder;
use crate::{filled, id, key_file, new, proved};

#[test]
fn many_keys_are_generated_at_once_or_not_at_all() {
    let folder = Folder::new();
    let store = filled(&folder);
    let many: Vec<_> = (0..1000).map(|n| new(&format!("many/{n:05}"), KeyType::Ed25519)).collect();
    let made = store.generate(&many).unwrap();
    let made: Vec<_> = made.iter().map(|key| &key.id).collect();
    assert_eq!(made, many.iter().map(|key| &key.id).collect::<Vec<_>>(), "in the order asked for");
    assert_eq!(store.count().unwrap(), 1003);
    assert_eq!(proved(&store), 1003);

    let mut clash: Vec<_> =
        (0..500).map(|n| new(&format!("more/{n:05}"), KeyType::Ed25519)).collect();
    clash.push(new("many/00007", KeyType::Ed25519));
    let refused = store.generate(&clash).unwrap_err();
    assert!(
        matches!(&refused, StoreError::AlreadyExists(taken) if taken.as_str() == "many/00007"),
        "{refused:?}"
    );
    let twice = [new("twice", KeyType::Ed25519), new("twice", KeyType::Ed25519)];
    assert!(matches!(store.generate(&twice), Err(StoreError::AlreadyExists(_))));
    assert_eq!(store.count().unwrap(), 1003, "nothing of it was stored");
    assert!(store.generate(&[]).unwrap().is_empty());
}

#[test]
fn pages_go_on_where_the_last_one_ended_and_show_newest_versions() {
    let folder = Folder::new();
    let store = filled(&folder);
    store.rotate(&id("key/ed25519")).unwrap();
    store.rotate(&id("key/ed25519")).unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.page(after.as_ref(), 1).unwrap();
        let Some(key) = page.last() else { break };
        after = Some(key.id.clone());
        seen.extend(page.into_iter().map(|key| (key.id.to_string(), key.version)));
    }
    let expected = [("key/bls12-381", 1), ("key/ed25519", 3), ("key/secp256k1", 1)];
    assert_eq!(seen, expected.map(|(id, version)| (id.to_owned(), version)));
}

#[test]
fn older_versions_are_retired_and_the_newest_is_not() {
    let folder = Folder::new();
    let store = filled(&folder);
    let key = id("key/ed25519");
    let refused = store.retire(&key, 1, true).unwrap_err();
    assert!(matches!(refused, StoreError::State { .. }), "{refused:?}");
    store.rotate(&key).unwrap();
    assert!(store.retire(&key, 1, true).unwrap().flags.retired);
    let refused = store.retire(&key, 9, true).unwrap_err();
    assert!(matches!(refused, StoreError::NoVersion { version: 9, .. }), "{refused:?}");
    drop(store);

    let backend = folder.open("store", false).unwrap();
    let registered =
        folder.register(&*backend, "key/ed25519", KeyType::Ed25519, Default::default()).unwrap();
    assert!(registered.older.is_empty(), "a retired version signs");
    drop((registered, backend));
    Store::open(&folder.path("store"), &key_file(7)).unwrap().retire(&key, 1, false).unwrap();
    let backend = folder.open("store", false).unwrap();
    let registered =
        folder.register(&*backend, "key/ed25519", KeyType::Ed25519, Default::default()).unwrap();
    assert_eq!(registered.older.len(), 1);
}

#[test]
fn a_key_is_destroyed_in_steps_and_its_id_stays_taken() {
    let folder = Folder::new();
    let store = filled(&folder);
    let key = id("key/secp256k1");
    let week = Duration::from_secs(7 * 24 * 3600);
    let refused = store.schedule_delete(&key, week).unwrap_err();
    assert!(refused.to_string().contains("protected from deletion"), "{refused}");
    store.protect(&key, false).unwrap();
    assert!(matches!(store.destroy(&key), Err(StoreError::State { .. })));
    store.schedule_delete(&key, week).unwrap();
    let refused = store.destroy(&key).unwrap_err();
    assert!(
        matches!(refused, StoreError::Waiting { seconds: 604_700..=604_801, .. }),
        "{refused:?}"
    );
    assert_eq!(store.cancel_delete(&key).unwrap().state, StoredState::Disabled);
    let asked = std::time::SystemTime::now() + Duration::from_millis(1500);
    let StoredState::PendingDeletion { not_before } =
        store.schedule_delete(&key, Duration::from_millis(1500)).unwrap().state
    else {
        panic!("not scheduled");
    };
    assert!(std::time::UNIX_EPOCH + Duration::from_secs(not_before) >= asked, "a little early");
    assert!(matches!(store.enable(&key), Err(StoreError::State { .. })));
    assert!(matches!(store.rotate(&key), Err(StoreError::State { .. })));
    assert_eq!(store.cancel_delete(&key).unwrap().state, StoredState::Disabled);
    store.rotate(&key).unwrap();
    store.schedule_delete(&key, Duration::ZERO).unwrap();
    let gone = store.destroy(&key).unwrap();
    assert!(matches!(gone.state, StoredState::Destroyed { .. }));
    for version in store.versions(&key).unwrap() {
        assert!(matches!(version.state, StoredState::Destroyed { .. }), "{version:?}");
    }
    for refused in [
        store.rotate(&key).err(),
        store.enable(&key).err(),
        store.export(&key, None).err(),
        store.export(&key, Some(1)).err(),
        store.schedule_delete(&key, week).err(),
        store.destroy(&key).err(),
    ] {
        assert!(matches!(refused, Some(StoreError::Destroyed(_))), "{refused:?}");
    }
    let again = store.generate(&[new("key/secp256k1", KeyType::Secp256k1)]);
    assert!(matches!(again, Err(StoreError::AlreadyExists(_))), "{again:?}");
    assert_eq!(proved(&store), 2);
}

#[test]
fn a_protected_key_is_not_destroyed_whatever_came_before() {
    let folder = Folder::new();
    let store = filled(&folder);
    let key = id("key/ed25519");
    store.protect(&key, false).unwrap();
    store.schedule_delete(&key, Duration::ZERO).unwrap();
    store.protect(&key, true).unwrap();
    let refused = store.destroy(&key).unwrap_err();
    assert!(refused.to_string().contains("protected from deletion"), "{refused}");
    assert_eq!(proved(&store), 3);
}

#[test]
fn secrets_leave_only_where_that_was_decided_at_the_beginning() {
    let folder = Folder::new();
    let store = filled(&folder);
    let secret = SecretKey::from_bytes(KeyType::Ed25519, &[3; 32]).unwrap();
    store.import(&new("in", KeyType::Ed25519), &secret).unwrap();
    store.import(&new("in-and-out", KeyType::Ed25519).exportable(true), &secret).unwrap();
    assert!(matches!(store.export(&id("in"), None), Err(StoreError::NotExportable(_))));
    let out = store.export(&id("in-and-out"), None).unwrap();
    assert_eq!(out.expose_secret().expose(), &[3; 32]);
    store.rotate(&id("in-and-out")).unwrap();
    let newer = store.export(&id("in-and-out"), None).unwrap();
    assert_ne!(newer.public_key(), secret.public_key());
    assert_eq!(store.export(&id("in-and-out"), Some(1)).unwrap().public_key(), secret.public_key());
    let wrong = store.import(&new("wrong", KeyType::Secp256k1), &secret).unwrap_err();
    assert!(matches!(wrong, StoreError::TypeMismatch { .. }), "{wrong:?}");
}

#[test]
fn keys_are_derived_from_masters_and_not_rotated() {
    let folder = Folder::new();
    let store = filled(&folder);
    let phrase = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                  abandon about";
    let words = MasterSecret::Mnemonic {
        mnemonic: Mnemonic::parse(phrase.as_bytes()).unwrap(),
        passphrase: SecretBytes::from_slice(b"TREZOR"),
    };
    let master = store.add_master(&id("words"), &words, true).unwrap();
    assert_eq!(master.kind, MasterKind::Mnemonic { words: 12 });
    let seed = MasterSecret::Seed(Seed::from_bytes(&[1; 16]).unwrap());
    store.add_master(&id("seed"), &seed, false).unwrap();
    assert!(matches!(store.add_master(&id("seed"), &seed, true), Err(StoreError::MasterExists(_))));
    assert!(matches!(store.export_master(&id("seed")), Err(StoreError::NotExportable(_))));
    let MasterSecret::Mnemonic { mnemonic, passphrase } =
        store.export_master(&id("words")).unwrap()
    else {
        panic!("no mnemonic");
    };
    assert_eq!(
        (mnemonic.phrase().expose(), passphrase.expose()),
        (phrase.as_bytes(), &b"TREZOR"[..])
    );

    let from =
        |master: &str, path: &str| Derivation { master: id(master), path: path.parse().unwrap() };
    // EIP-2333's first test case: the master of this mnemonic, and its child 0.
    let first = new("bls", KeyType::Bls12381).exportable(true);
    let derived = store.derive(&first, &from("words", "m/0")).unwrap();
    assert_eq!(derived.derivation, Some(from("words", "m/0")));
    let secret = store.export(&id("bls"), None).unwrap();
    let hex: String = secret.expose_secret().expose().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "2d18bd6c14e6d15bf8b5085c9b74f3daae3b03cc2014770a599d8c1539e50f8e");
    let twin = store.derive(&new("BLS", KeyType::Bls12381), &from("words", "m/0")).unwrap();
    assert_eq!(twin.public_key, derived.public_key);

    for (name, key_type, from) in [
        ("a", KeyType::Ed25519, from("words", "m/44'/0")),
        ("b", KeyType::Bls12381, from("words", "m/0'")),
        ("c", KeyType::Secp256k1, from("words", "m/4000000000")),
        ("d", KeyType::Bls12381, from("seed", "m/0")),
    ] {
        let refused = store.derive(&new(name, key_type), &from).unwrap_err();
        assert!(matches!(refused, StoreError::Derivation { .. }), "{refused:?}");
    }
    let refused = store.derive(&new("e", KeyType::Ed25519), &from("none", "m/0'")).unwrap_err();
    assert!(matches!(refused, StoreError::MasterNotFound(_)), "{refused:?}");
    assert!(matches!(store.rotate(&id("bls")), Err(StoreError::State { .. })));
}
