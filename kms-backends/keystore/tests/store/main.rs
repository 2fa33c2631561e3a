//! What an operator does to a store, and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod backup;
mod files;
mod lifecycle;
#[path = "../support/mod.rs"]
mod support;
mod unlockers;

use std::collections::BTreeMap;

use kms_backend_keystore::{NewKey, Store, UnlockSecret};
use kms_keys::{KeyId, KeyType};
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
