//! What an operator does to a store, and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use kms_backend::Derivation;
use kms_backend_keystore::{
    MasterKind, MasterSecret, NewKey, Store, StoreError, StoredState, UnlockSecret, UnlockerKind,
};
use kms_keys::{KeyId, KeyType, Mnemonic, SecretKey, Seed};
use kms_secrets::SecretBytes;
use support::Folder;

fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

fn key_file(byte: u8) -> UnlockSecret {
    UnlockSecret::KeyFile(SecretBytes::from_slice(&[byte; 32]))
}

fn passphrase(text: &str) -> UnlockSecret {
    UnlockSecret::Passphrase(SecretBytes::from_slice(text.as_bytes()))
}

fn new(name: &str, key_type: KeyType) -> NewKey {
    NewKey::new(id(name), key_type)
}

/// A store that key file 7 opens, with a key of each type.
fn filled(folder: &Folder) -> Store {
    let store = Store::create(&folder.path("store"), &key_file(7)).unwrap();
    let all = KeyType::ALL.iter().map(|key_type| new(&format!("key/{key_type}"), *key_type));
    store.generate(&all.collect::<Vec<_>>()).unwrap();
    store
}

fn public_keys(store: &Store) -> BTreeMap<String, String> {
    let keys = store.page(None, 1000).unwrap().into_iter();
    keys.map(|key| (key.id.to_string(), key.public_key)).collect()
}

fn proved(store: &Store) -> usize {
    let verified = store.verify(|| {}).unwrap();
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    verified.versions
}

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

#[test]
fn unlockers_come_and_go() {
    let folder = Folder::new();
    let mut store = filled(&folder);
    store.add_unlocker(&key_file(7), "people", &passphrase("correct horse")).unwrap();
    let taken = store.add_unlocker(&key_file(7), "people", &key_file(1)).unwrap_err();
    assert!(matches!(taken, StoreError::UnlockerExists(_)), "{taken:?}");
    let wrong = store.add_unlocker(&key_file(8), "more", &key_file(1)).unwrap_err();
    assert!(matches!(wrong, StoreError::WrongKey { unlockers: 1 }), "{wrong:?}");
    let kinds: Vec<_> = store.unlockers().iter().map(|unlocker| &unlocker.kind).collect();
    assert!(matches!(kinds[..], [UnlockerKind::KeyFile {}, UnlockerKind::Passphrase(_)]));
    drop(store);

    let mut store = Store::open(&folder.path("store"), &passphrase("correct horse")).unwrap();
    let name =
        store.change_unlocker(&passphrase("correct horse"), &passphrase("battery staple")).unwrap();
    assert_eq!(name, "people");
    store.remove_unlocker("first", false).unwrap();
    assert!(matches!(store.remove_unlocker("first", false), Err(StoreError::NoUnlocker(_))));
    assert!(matches!(store.remove_unlocker("people", false), Err(StoreError::LastUnlocker(_))));
    drop(store);
    for secret in [key_file(7), passphrase("correct horse")] {
        let wrong = Store::open(&folder.path("store"), &secret).unwrap_err();
        assert!(matches!(wrong, StoreError::WrongKey { .. }), "{wrong:?}");
    }
    let store = Store::open(&folder.path("store"), &passphrase("battery staple")).unwrap();
    assert_eq!(proved(&store), 3);
}

/// Every occurrence of `needle` in the store's file.
fn occurrences(folder: &Folder, needle: &[u8]) -> usize {
    let content = fs::read(folder.path("store")).unwrap();
    content.windows(needle.len()).filter(|window| *window == needle).count()
}

/// The sealed secret of a key, as it is in the file.
fn sealed(folder: &Folder, public_key: &str) -> Vec<u8> {
    let content = fs::read(folder.path("store")).unwrap();
    let needle = public_key.as_bytes();
    let at = content.windows(needle.len()).position(|window| window == needle).unwrap();
    let end = at + content[at..].windows(2).position(|window| window == b"}}").unwrap() + 2;
    content[end..end + 72].to_vec()
}

#[test]
fn a_rewritten_store_keeps_nothing_of_what_was_destroyed_or_sealed_before() {
    let folder = Folder::new();
    let mut store = filled(&folder);
    store.add_unlocker(&key_file(7), "second", &key_file(8)).unwrap();
    let keys = public_keys(&store);
    let before = sealed(&folder, &keys["key/ed25519"]);
    assert_eq!(occurrences(&folder, &before), 1);
    assert_eq!(store.rekey(&key_file(8)).unwrap(), ["first"]);
    store.rewrite().unwrap();
    assert_eq!(occurrences(&folder, &before), 0, "a secret under the old store key is still there");
    let refused = Store::open_read_only(&folder.path("store"), &key_file(7)).unwrap_err();
    assert!(matches!(refused, StoreError::WrongKey { .. }), "{refused:?}");

    let sealed_now = sealed(&folder, &keys["key/ed25519"]);
    store.protect(&id("key/ed25519"), false).unwrap();
    store.schedule_delete(&id("key/ed25519"), Duration::ZERO).unwrap();
    store.destroy(&id("key/ed25519")).unwrap();
    store.rewrite().unwrap();
    assert_eq!(occurrences(&folder, &sealed_now), 0, "a destroyed secret is still there");
    assert_eq!(proved(&store), 2);
    // It goes on with the new file.
    store.generate(&[new("after", KeyType::Ed25519)]).unwrap();
    drop(store);
    let store = Store::open(&folder.path("store"), &key_file(8)).unwrap();
    assert_eq!(proved(&store), 3);
    let left: Vec<_> =
        fs::read_dir(folder.path("")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "store, lock and key, and nothing else: {left:?}");
}

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
fn a_store_for_reading_changes_nothing() {
    let folder = Folder::new();
    drop(filled(&folder));
    let before = fs::read(folder.path("store")).unwrap();
    let mut reader = Store::open_read_only(&folder.path("store"), &key_file(7)).unwrap();
    for refused in [
        reader.generate(&[new("x", KeyType::Ed25519)]).err(),
        reader.disable(&id("key/ed25519")).err(),
        reader.add_unlocker(&key_file(7), "x", &key_file(8)).err(),
        reader.rekey(&key_file(7)).err(),
        reader.rewrite().err(),
    ] {
        assert!(matches!(refused, Some(StoreError::ReadOnly { .. })), "{refused:?}");
    }
    assert_eq!(proved(&reader), 3);
    drop(reader);
    assert!(fs::read(folder.path("store")).unwrap() == before, "reading changed the file");
}

#[test]
fn a_reader_follows_what_a_writer_does() {
    let folder = Folder::new();
    let store = filled(&folder);
    let reader = Store::open_read_only(&folder.path("store"), &key_file(7)).unwrap();
    assert_eq!(public_keys(&reader), public_keys(&store));
    store.generate(&[new("new", KeyType::Ed25519)]).unwrap();
    store.disable(&id("key/ed25519")).unwrap();
    assert_eq!(public_keys(&reader), public_keys(&store));
    assert_eq!(proved(&reader), 4);
    reader.backup(&folder.path("backup"), &key_file(1)).unwrap();
    store.generate(&[new("newer", KeyType::Ed25519)]).unwrap();
    let backup = Store::open_read_only(&folder.path("backup"), &key_file(1)).unwrap();
    assert_eq!(proved(&backup), 4);
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
fn a_link_to_a_store_is_the_store() {
    let folder = Folder::new();
    drop(filled(&folder));
    fs::create_dir(folder.path("elsewhere")).unwrap();
    let link = folder.path("elsewhere/link");
    std::os::unix::fs::symlink(folder.path("store"), &link).unwrap();
    let mut store = Store::open(&link, &key_file(7)).unwrap();
    let refused = Store::open(&folder.path("store"), &key_file(7)).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { holder: Some(_), .. }), "{refused:?}");
    store.rekey(&key_file(7)).unwrap();
    store.rewrite().unwrap();
    drop(store);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(proved(&Store::open(&folder.path("store"), &key_file(7)).unwrap()), 3);

    fs::hard_link(folder.path("store"), folder.path("other-name")).unwrap();
    let mut store = Store::open(&folder.path("store"), &key_file(7)).unwrap();
    assert!(store.rewrite().is_err(), "the other name's content is overwritten");
    assert_eq!(proved(&store), 3);
}

#[test]
fn what_is_no_store_is_refused_and_nothing_is_put_beside_it() {
    let folder = Folder::new();
    fs::create_dir(folder.path("folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    for name in ["folder", "pipe"] {
        for refused in [
            Store::open(&folder.path(name), &key_file(7)).unwrap_err(),
            Store::open_read_only(&folder.path(name), &key_file(7)).unwrap_err(),
        ] {
            assert!(refused.to_string().contains("no regular file"), "{refused}");
        }
        assert!(!folder.path(&format!("{name}.lock")).exists());
    }
    for empty in [passphrase(""), UnlockSecret::KeyFile(SecretBytes::from_slice(b"short"))] {
        let refused = Store::create(&folder.path("new"), &empty).unwrap_err();
        assert!(!folder.path("new").exists(), "{refused}");
    }
    let mut store = filled(&folder);
    for name in ["", "two\nlines", &"x".repeat(65)] {
        let refused = store.add_unlocker(&key_file(7), name, &key_file(8)).unwrap_err();
        assert!(matches!(refused, StoreError::UnlockerName), "{refused:?}");
    }
}

/// A lock that is a link would have another file overwritten.
#[test]
fn a_lock_is_no_link() {
    let folder = Folder::new();
    drop(filled(&folder));
    folder.write("victim", b"precious");
    fs::remove_file(folder.path("store.lock")).unwrap();
    std::os::unix::fs::symlink("victim", folder.path("store.lock")).unwrap();
    Store::open(&folder.path("store"), &key_file(7)).unwrap_err();
    assert_eq!(fs::read(folder.path("victim")).unwrap(), b"precious");
}

#[test]
fn left_overs_of_killed_processes_are_in_nobodys_way_and_go() {
    let folder = Folder::new();
    let left = |store: &str, pid: u32| folder.path(&format!("{store}.unfinished-{pid}-0"));
    let pid = std::process::id();
    folder.write(&format!("store.unfinished-{pid}-0"), b"sealed secrets");
    let mut store = filled(&folder);
    assert!(!left("store", pid).exists());
    folder.write("other.unfinished-1-0", b"of another store");
    folder.write("store.unfinished-1-0", b"sealed secrets");
    store.rewrite().unwrap();
    drop(store);
    drop(Store::open(&folder.path("store"), &key_file(7)).unwrap());
    assert!(!left("store", 1).exists());
    assert!(left("other", 1).exists());
}

/// Readers that come and go while the file is replaced again and again see what is in the store, or are
/// told to try again.
#[test]
fn readers_are_not_harmed_by_a_store_that_is_written_anew() {
    let folder = Folder::new();
    let mut store = filled(&folder);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut read = 0;
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        if let Ok(reader) =
                            Store::open_read_only(&folder.path("store"), &key_file(7))
                        {
                            match reader.verify(|| {}) {
                                Ok(verified) => {
                                    assert!(verified.problems.is_empty(), "{verified:?}");
                                    assert_eq!(verified.versions, 3);
                                    read += 1;
                                }
                                Err(refused) => assert!(
                                    matches!(refused, StoreError::SealedAnew { .. }),
                                    "{refused:?}"
                                ),
                            }
                        }
                    }
                    read
                })
            })
            .collect();
        for _ in 0..20 {
            store.rekey(&key_file(7)).unwrap();
            store.rewrite().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let read: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(read > 0, "nobody ever read it");
    });
    assert_eq!(proved(&store), 3);
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
