//! Who opens a store, and what is left of those who did.

use std::fs;
use std::time::Duration;

use kms_backend_keystore::{Store, StoreError, UnlockerKind};
use kms_keys::KeyType;

use crate::support::Folder;
use crate::{filled, id, key_file, new, passphrase, proved, public_keys};

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
