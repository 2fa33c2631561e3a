//! The contract of a backend, run against this one.

#![allow(clippy::unwrap_used, reason = "a test that can't write its files fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use kms_backend::conformance::{self, Fixture, Provisioned};
use kms_backend::{Derivation, IfMissing, KeySpec, OpenContext, async_trait};
use kms_backend_keystore::{KeystoreSettings, MasterSecret, Store, UnlockSecret, UnlockSource};
use kms_keys::{KeyId, KeyType, Seed};
use kms_secrets::SecretBytes;
use tempfile::TempDir;

/// A store per fixture. The suite opens it again and again, one opener after the other: the key file
/// keeps that from costing a key derivation each time.
struct OneStore {
    folder: TempDir,
}

impl OneStore {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let key_file = folder.path().join("key");
        fs::write(&key_file, [7; 32]).unwrap();
        fs::set_permissions(&key_file, Permissions::from_mode(0o600)).unwrap();
        Self { folder }
    }

    /// The store as an operator opens it while no service does.
    fn store(&self) -> Store {
        let secret = UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]));
        let path = self.folder.path().join("store");
        if path.exists() { Store::open(&path, &secret) } else { Store::create(&path, &secret) }
            .unwrap()
    }
}

#[async_trait]
impl Fixture for OneStore {
    type Settings = KeystoreSettings;

    fn settings(&self) -> KeystoreSettings {
        KeystoreSettings {
            path: "store".into(),
            unlock: UnlockSource::KeyFile("key".into()),
            create: true,
            if_missing: IfMissing::Fail,
        }
    }

    fn context(&self) -> OpenContext {
        OpenContext::new("store", self.folder.path())
    }

    async fn provision(&self, id: KeyId, key_type: KeyType) -> Provisioned {
        let mut spec = KeySpec::new(id, key_type);
        spec.if_missing = IfMissing::Generate;
        Provisioned { spec, public_key: None }
    }

    fn absent(&self, id: KeyId, key_type: KeyType) -> KeySpec {
        KeySpec::new(id, key_type)
    }

    async fn allow_deletion(&self, id: &KeyId) {
        self.store().protect(id, false).unwrap();
    }

    async fn derivation(&self, key_type: KeyType) -> Option<Derivation> {
        let master = KeyId::new("conformance/master").unwrap();
        let store = self.store();
        if store.masters().unwrap().is_empty() {
            let seed = Seed::from_bytes(&[9; 64]).unwrap();
            store.add_master(&master, &MasterSecret::Seed(seed), false).unwrap();
        }
        let path = match key_type {
            KeyType::Ed25519 => "m/44'/0'",
            KeyType::Bls12381 => "m/12381/3600/0/0",
            _ => "m/44'/60'/0'/0",
        };
        Some(Derivation { master, path: path.parse().unwrap() })
    }

    async fn damage(&self, _spec: &KeySpec) -> bool {
        // One damaged record refuses the whole store: tests/tampering.rs.
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keystore_keeps_the_contract() {
    conformance::run(OneStore::new(), Duration::from_secs(60)).await.assert_conformance();
}
