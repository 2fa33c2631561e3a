//! Stores that open in each way, with keys in them.

use std::fmt::Write as _;

use kms_backend_keystore::{MasterSecret, NewKey, Store, UnlockSecret};
use kms_keys::{KeyType, SecretKey, Seed};
use kms_secrets::SecretBytes;
use kms_tests::id;
use kms_tests::memory::{KEY_FILE_STORE, needles_of_key};

use super::Scene;

/// The variable with the passphrase of a store.
const PASSPHRASE: &str = "KEY_HOLDER_PASSPHRASE";

impl Scene {
    /// A store that opens in each way; the backends' settings.
    pub(super) fn add_stores(&mut self) -> String {
        let mut settings = "    files: { type: preload }\n".to_owned();
        for (store, unlock) in [
            (KEY_FILE_STORE, "key_file: key".into()),
            ("by-file", "passphrase: { file: passphrase }".into()),
            ("by-command", "passphrase: { command: [cat, passphrase-to-print] }".into()),
            ("by-env", format!("passphrase: {{ env: {PASSPHRASE} }}")),
            ("by-prompt", "passphrase: { prompt: true }".into()),
        ] {
            let random = SecretKey::generate(KeyType::Ed25519).unwrap();
            let mut secret = random.expose_secret().expose().to_vec();
            if store != KEY_FILE_STORE {
                secret = base16ct::lower::encode_string(&secret).into();
            }
            self.secret(&format!("what opens {store}"), &secret);
            match store {
                KEY_FILE_STORE => self.write("key", &secret),
                "by-file" => self.write("passphrase", &secret),
                "by-command" => self.write("passphrase-to-print", &secret),
                "by-prompt" => self.typed = String::from_utf8(secret.clone()).unwrap(),
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

    /// A key of this type that is derived from a seed, and one from the words.
    fn add_derived(&mut self, store: &Store, key_type: KeyType, backend: &str) {
        let seed = [SecretKey::generate(key_type).unwrap(), SecretKey::generate(key_type).unwrap()];
        let seed = seed.map(|key| key.expose_secret().expose().to_vec()).concat();
        let name = format!("seed/{key_type}");
        self.secret(&name, &seed);
        let seed = Seed::from_bytes(&seed).unwrap();
        self.declare_derived(&name, &seed, key_type, backend);
        store.add_master(&id(&name), &MasterSecret::Seed(seed), false).unwrap();
    }

    /// Declares the key of this type that a master gives.
    pub(super) fn declare_derived(
        &mut self,
        master: &str,
        seed: &Seed,
        key_type: KeyType,
        backend: &str,
    ) {
        let path = match key_type {
            KeyType::Ed25519 => "m/44'/501'/0'",
            KeyType::Secp256k1 => "m/44'/60'/0'/0/0",
            _ => "m/12381/3600/0/0/0",
        };
        let key = seed.derive(key_type, &path.parse().unwrap()).unwrap();
        self.needles.extend(needles_of_key(&format!("derived from {master} {key_type}"), &key));
        let rest = format!("{backend}, derive: {{ master: {master}, path: \"{path}\" }}");
        self.declare(&format!("derived/{}/{key_type}", master.replace('/', "-")), key_type, &rest);
    }
}
