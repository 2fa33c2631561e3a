//! Secrets of every kind in every kind of source, and every spelling of them.

mod derived_keys;
mod documents;
mod sources;
mod stores;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use kms_keys::{KeyType, SecretKey};
use kms_tests::memory::{Needle, needles, needles_of_key};
use kms_tests::store_secrets::{StoreSecrets, Unlock, secrets_of};
use kms_tests::write_secret;
use tempfile::TempDir;

pub use documents::document;
pub use sources::{hex, pem};

const NODE: &str = "  limits: { deadline: 10m, queue: 4096 }
identity: { key: ed25519/hex, peer: ed25519/raw }
proposer: { key: secp256k1/hex, slot: 1h }
attesters: { keys: [bls12-381/hex, bls12-381/raw] }
";

/// A folder with a node's settings, and what is secret about it.
pub struct Scene {
    folder: TempDir,
    pub environment: Vec<(String, String)>,
    /// What comes by standard input.
    pub input: String,
    /// What is typed at the terminal.
    pub typed: String,
    pub needles: Vec<Needle>,
    /// The keys that are declared, each with its id.
    pub declared: Vec<(String, KeyType)>,
    /// One key of each type, whose needles are called `raw TYPE`.
    pub bare: Vec<SecretKey>,
    /// Secrets that are no keys: passphrases and what is derived from them, seeds, words.
    pub secrets: StoreSecrets,
    /// The stores, each with what opens it.
    stores: Vec<(&'static str, Vec<u8>)>,
    keys: String,
}

impl Scene {
    pub fn new() -> Self {
        let mut scene = Self {
            folder: TempDir::new().unwrap(),
            environment: Vec::new(),
            input: String::new(),
            typed: String::new(),
            needles: Vec::new(),
            declared: Vec::new(),
            bare: Vec::new(),
            secrets: Vec::new(),
            stores: Vec::new(),
            keys: String::new(),
        };
        for folder in ["bare", "documents", "passphrases", "refused-documents"] {
            fs::create_dir(scene.path(folder)).unwrap();
        }
        for key_type in KeyType::ALL {
            scene.add_sources(*key_type);
        }
        let backends = scene.add_stores();
        scene.add_imports();
        let settings = format!("kms:\n  backends:\n{backends}  keys:\n{}{NODE}", scene.keys);
        scene.write("settings.yaml", settings.as_bytes());
        scene
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        write_secret(&self.path(name), bytes);
    }

    /// The needles of what is in the stores by now, and of the keys that they are sealed with.
    pub fn needles_of_stores(&self) -> Vec<Needle> {
        let mut all = Vec::new();
        for (name, secret) in self.secrets_of_stores() {
            match KeyType::ALL.iter().find(|key_type| name.contains(key_type.as_str())) {
                Some(key_type) if !secret.is_empty() => {
                    let key = SecretKey::from_bytes(*key_type, &secret).unwrap();
                    all.extend(needles_of_key(&name, &key));
                }
                _ => all.extend(needles(&name, &secret)),
            }
        }
        all
    }

    /// What is in the stores by now, and the keys that they are sealed with.
    pub fn secrets_of_stores(&self) -> StoreSecrets {
        let mut all = Vec::new();
        for (store, unlock) in &self.stores {
            let secrets = secrets_of(&self.path(store), &Unlock(unlock));
            assert!(secrets.len() > 5, "no key in {store}");
            all.extend(
                secrets.into_iter().map(|(name, secret)| (format!("{store} {name}"), secret)),
            );
        }
        all
    }

    /// A new key, which is looked for.
    fn key(&mut self, place: &str, key_type: KeyType) -> SecretKey {
        let key = SecretKey::generate(key_type).unwrap();
        self.needles.extend(needles_of_key(&format!("{place} {key_type}"), &key));
        key
    }

    /// A secret that is no key, which is looked for.
    fn secret(&mut self, name: &str, bytes: &[u8]) {
        self.needles.extend(needles(name, bytes));
        self.secrets.push((name.to_owned(), bytes.to_vec()));
    }

    fn declare(&mut self, name: &str, key_type: KeyType, rest: &str) {
        let schemes: Vec<_> = key_type.schemes().iter().map(|scheme| scheme.as_str()).collect();
        let schemes = schemes.join(", ");
        writeln!(
            self.keys,
            "    - {{ id: {name}, type: {key_type}, schemes: [{schemes}], {rest} }}"
        )
        .unwrap();
        self.declared.push((name.to_owned(), key_type));
    }
}
