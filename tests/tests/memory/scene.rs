//! Secrets of every kind in every kind of source, and every spelling of them.

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use kms_backend::Derivation;
use kms_backend_keystore::{MasterSecret, NewKey, Store, UnlockSecret};
use kms_keys::{KeyType, SecretKey, Seed};
use kms_secrets::SecretBytes;
use kms_tests::id;
use kms_tests::memory::{KEY_FILE_STORE, Needle, needles, needles_of_key};
use kms_tests::store_secrets::{Unlock, secrets_of};
use tempfile::TempDir;

/// The variable with the passphrase of a store.
const PASSPHRASE: &str = "KEY_HOLDER_PASSPHRASE";

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
    pub needles: Vec<Needle>,
    /// The stores, each with what opens it.
    stores: Vec<(&'static str, Vec<u8>)>,
    keys: String,
}

impl Scene {
    pub fn new() -> Self {
        let imported = SecretKey::generate(KeyType::Secp256k1).unwrap();
        let mut scene = Self {
            folder: TempDir::new().unwrap(),
            environment: Vec::new(),
            input: hex(&imported),
            needles: needles_of_key("imported", &imported),
            stores: Vec::new(),
            keys: String::new(),
        };
        scene.declare("imported", KeyType::Secp256k1, "backend: by-key-file");
        for key_type in KeyType::ALL {
            scene.add_sources(*key_type);
        }
        let backends = scene.add_stores();
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

    /// The needles of what is in the stores by now, and of the keys that they are sealed with.
    pub fn needles_of_stores(&self) -> Vec<Needle> {
        let mut all = Vec::new();
        for (store, unlock) in &self.stores {
            let secrets = secrets_of(&self.path(store), &Unlock(unlock));
            assert!(secrets.len() > 5, "no key in {store}");
            for (name, secret) in secrets {
                let name = format!("{store} {name}");
                match KeyType::ALL.iter().find(|key_type| name.contains(key_type.as_str())) {
                    Some(key_type) if !secret.is_empty() => {
                        let key = SecretKey::from_bytes(*key_type, &secret).unwrap();
                        all.extend(needles_of_key(&name, &key));
                    }
                    _ => all.extend(needles(&name, &secret)),
                }
            }
        }
        all
    }

    /// A new key, which is looked for.
    fn key(&mut self, place: &str, key_type: KeyType) -> SecretKey {
        let key = SecretKey::generate(key_type).unwrap();
        self.needles.extend(needles_of_key(&format!("{place} {key_type}"), &key));
        key
    }

    fn declare(&mut self, name: &str, key_type: KeyType, rest: &str) {
        let schemes: Vec<_> = key_type.schemes().iter().map(|scheme| scheme.as_str()).collect();
        let schemes = schemes.join(", ");
        writeln!(
            self.keys,
            "    - {{ id: {name}, type: {key_type}, schemes: [{schemes}], {rest} }}"
        )
        .unwrap();
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    /// A key of this type in a file of each form, and in a variable.
    fn add_sources(&mut self, key_type: KeyType) {
        for form in ["hex", "raw", "base64", "pem", "env"] {
            if form == "pem" && key_type == KeyType::Bls12381 {
                continue;
            }
            let key = self.key(form, key_type);
            let bytes = key.expose_secret().expose();
            let (text, encoding) = match form {
                "raw" => (bytes.to_vec(), ", encoding: raw"),
                "base64" => (Base64::encode_string(bytes).into(), ", encoding: base64"),
                "pem" => (pem(&key).into(), ""),
                _ => (hex(&key).into(), ""),
            };
            let source = if form == "env" {
                let variable = format!("KEY_HOLDER_{key_type}").replace('-', "_");
                self.environment.push((variable.clone(), String::from_utf8(text).unwrap()));
                format!("env: {variable}")
            } else {
                let file = format!("{key_type}.{form}");
                self.write(&file, &text);
                format!("file: {file}{encoding}")
            };
            let rest = format!("backend: files, source: {{ {source} }}");
            self.declare(&format!("{key_type}/{form}"), key_type, &rest);
        }
    }

    /// A store that opens in each way; the backends' settings.
    fn add_stores(&mut self) -> String {
        let mut settings = "    files: { type: preload }\n".to_owned();
        for (store, unlock) in [
            (KEY_FILE_STORE, "key_file: key".into()),
            ("by-file", "passphrase: { file: passphrase }".into()),
            ("by-command", "passphrase: { command: [cat, passphrase-to-print] }".into()),
            ("by-env", format!("passphrase: {{ env: {PASSPHRASE} }}")),
        ] {
            let random = SecretKey::generate(KeyType::Ed25519).unwrap();
            let mut secret = random.expose_secret().expose().to_vec();
            if store != KEY_FILE_STORE {
                secret = base16ct::lower::encode_string(&secret).into();
            }
            self.needles.extend(needles(&format!("what opens {store}"), &secret));
            match store {
                KEY_FILE_STORE => self.write("key", &secret),
                "by-file" => self.write("passphrase", &secret),
                "by-command" => self.write("passphrase-to-print", &secret),
                _ => {
                    let passphrase = String::from_utf8(secret.clone()).unwrap();
                    self.environment.push((PASSPHRASE.into(), passphrase));
                }
            }
            self.fill_store(store, &secret);
            self.stores.push((store, secret));
            let section = format!("type: keystore, path: {store}, unlock: {{ {unlock} }}");
            writeln!(settings, "    {store}: {{ {section} }}").unwrap();
        }
        settings
    }

    /// A key of each type in a store. In the one that a key file opens also keys that are to be deleted,
    /// to be made, and to be derived.
    fn fill_store(&mut self, name: &str, secret: &[u8]) {
        let bytes = SecretBytes::from_slice(secret);
        let unlock = match name {
            KEY_FILE_STORE => UnlockSecret::KeyFile(bytes),
            _ => UnlockSecret::Passphrase(bytes),
        };
        let store = Store::create(&self.path(name), &unlock).unwrap();
        let backend = format!("backend: {name}");
        for key_type in KeyType::ALL {
            let key = self.key(name, *key_type);
            let stored = format!("{name}/{key_type}");
            store.import(&NewKey::new(id(&stored), *key_type), &key).unwrap();
            self.declare(&stored, *key_type, &backend);
            if name == KEY_FILE_STORE {
                let key = self.key("spare", *key_type);
                let spare = format!("spare/{key_type}");
                store.import(&NewKey::new(id(&spare), *key_type), &key).unwrap();
                store.protect(&id(&spare), false).unwrap();
                self.declare(&spare, *key_type, &backend);
                let made = format!("{backend}, if_missing: generate");
                self.declare(&format!("made/{key_type}"), *key_type, &made);
                self.add_derived(&store, *key_type, &backend);
            }
        }
    }

    fn add_derived(&mut self, store: &Store, key_type: KeyType, backend: &str) {
        let seed = [SecretKey::generate(key_type).unwrap(), SecretKey::generate(key_type).unwrap()];
        let seed = seed.map(|key| key.expose_secret().expose().to_vec()).concat();
        let name = format!("seed/{key_type}");
        self.needles.extend(needles(&name, &seed));
        let path = match key_type {
            KeyType::Ed25519 => "m/44'/501'/0'",
            KeyType::Secp256k1 => "m/44'/60'/0'/0/0",
            _ => "m/12381/3600/0/0/0",
        };
        let seed = Seed::from_bytes(&seed).unwrap();
        let derivation = Derivation { master: id(&name), path: path.parse().unwrap() };
        let key = seed.derive(key_type, &derivation.path).unwrap();
        self.needles.extend(needles_of_key(&format!("derived {key_type}"), &key));
        store.add_master(&id(&name), &MasterSecret::Seed(seed), false).unwrap();
        let rest = format!("{backend}, derive: {{ master: {name}, path: \"{path}\" }}");
        self.declare(&format!("derived/{key_type}"), key_type, &rest);
    }
}

pub fn hex(key: &SecretKey) -> String {
    base16ct::lower::encode_string(key.expose_secret().expose())
}

/// PKCS#8: Ed25519 as in RFC 8410, secp256k1 as in RFC 5915.
pub fn pem(key: &SecretKey) -> String {
    let before = match key.key_type() {
        KeyType::Ed25519 => "302e020100300506032b657004220420",
        _ => "303e020100301006072a8648ce3d020106052b8104000a042730250201010420",
    };
    let mut der = base16ct::lower::decode_vec(before).unwrap();
    der.extend(key.expose_secret().expose());
    let text = Base64::encode_string(&der);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| line.escape_ascii().to_string()).collect();
    let text = lines.join("\n");
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}
