//! A store that a node has open, and one that nobody may write.

use kms_backend_keystore::{Store, UnlockSecret};
use kms_keys::{KeyId, KeyType};
use kms_secrets::SecretBytes;

use crate::support::{Folder, PASSPHRASE};

/// The store as a node has it open. This test's process is the other process.
fn opened(folder: &Folder) -> Store {
    let secret = UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]));
    Store::open(&folder.path("kms.keystore"), &secret).unwrap()
}

#[test]
fn a_store_in_use_is_read_and_not_changed() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    folder.kms(&["generate", "a", "--type", "ed25519", "--exportable"]).ok();
    let store = opened(&folder);
    let new = kms_backend_keystore::NewKey::new(KeyId::new("b").unwrap(), KeyType::Ed25519);
    store.generate(&[new]).unwrap();

    let says = format!(
        "a node, or another kms (process {}), has it open: reading works",
        std::process::id()
    );
    for args in [
        &["generate", "c", "--type", "ed25519"][..],
        &["rotate", "a"],
        &["disable", "a"],
        &["unprotect", "a"],
        &["rekey"],
        &["mnemonic", "new", "main"],
        &["passphrase", "change"],
        &["unlocker", "add", "x", "--new-passphrase-file", "pass"],
    ] {
        folder.yes(args).fails(69, &says);
    }
    assert_eq!(folder.ids(), ["a", "b"]);
    for args in [
        &["show", "b"][..],
        &["public-key", "b"],
        &["verify"],
        &["unlocker", "list"],
        &["list", "--masters"],
        &["export", "a", "--to", "-"],
        &["backup", "backup", "--new-passphrase-file", "pass"],
    ] {
        folder.yes(args).ok();
    }
    let doctor = folder.kms(&["doctor"]).ok();
    let holder = format!("process {} has the store open", std::process::id());
    assert!(doctor.contains(&holder), "{doctor}");

    drop(store);
    folder.kms(&["rotate", "a"]).ok();
}

#[test]
fn reading_changes_nothing_and_makes_nothing() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    let before = std::fs::read(folder.path("kms.keystore")).unwrap();
    std::fs::remove_file(folder.path("kms.keystore.lock")).unwrap();
    for args in [&["list"][..], &["show", "a"], &["verify"], &["doctor"], &["unlocker", "list"]] {
        folder.kms(args).ok();
    }
    assert_eq!(std::fs::read(folder.path("kms.keystore")).unwrap(), before);
    assert!(!folder.path("kms.keystore.lock").exists());
}
