//! Stores to be measured.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_backend::{Backend, BackendSettings, IfMissing, KeySpec, OpenContext};
use kms_backend_keystore::{KeystoreSettings, NewKey, Store, UnlockSecret, UnlockSource};
use kms_keys::{KeyId, KeyType};
use kms_secrets::SecretBytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder on the disk that this project is built on: a folder in memory would make durable storing
/// look cheap. A key file opens its stores, so that no key derivation is measured.
pub fn folder() -> TempDir {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("key");
    fs::write(&path, [7; 32]).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    folder
}

pub fn key_file() -> UnlockSecret {
    UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]))
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// The `count` new keys of these types in turns, as a validator's operator would name them.
pub fn new_keys(count: usize, types: &[KeyType]) -> Vec<NewKey> {
    let types = types.iter().cycle();
    (0..count)
        .zip(types)
        .map(|(n, key_type)| NewKey::new(id(&format!("validators/{n:08}")), *key_type))
        .collect()
}

pub fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

/// A store with these keys.
pub fn store_with(folder: &Path, name: &str, keys: &[NewKey]) -> PathBuf {
    let path = folder.join(name);
    Store::create(&path, &key_file()).unwrap().generate(keys).unwrap();
    path
}

/// The store as a node opens it.
pub fn open_backend(runtime: &Runtime, path: &Path) -> Arc<dyn Backend> {
    let settings = KeystoreSettings {
        path: path.into(),
        unlock: UnlockSource::KeyFile("key".into()),
        create: false,
        if_missing: IfMissing::Fail,
    };
    let context = OpenContext::new("store", path.parent().unwrap());
    runtime.block_on(settings.open(&context)).unwrap()
}

pub fn specs(keys: &[NewKey]) -> Vec<KeySpec> {
    keys.iter().map(|key| KeySpec::new(key.id.clone(), key.key_type)).collect()
}
