//! Keys and words that the program imports: from standard input, and from documents, each under a
//! passphrase of its own.

use kms_keys::{Eip2335Kdf, Eip2335Keystore, KeyType, Mnemonic, SecretKey};
use kms_tests::memory::needles_of_key;

use super::{Scene, derived_keys, hex};

const BACKEND: &str = "backend: by-key-file";

impl Scene {
    pub(super) fn add_imports(&mut self) {
        let imported = SecretKey::generate(KeyType::Secp256k1).unwrap();
        self.input = hex(&imported);
        self.needles.extend(needles_of_key("imported", &imported));
        self.declare("imported/stdin", KeyType::Secp256k1, BACKEND);
        self.add_words();
        for (form, key_type) in [
            ("eip2335-scrypt", KeyType::Bls12381),
            ("eip2335-pbkdf2", KeyType::Bls12381),
            ("pkcs8", KeyType::Ed25519),
            ("pkcs8", KeyType::Secp256k1),
        ] {
            let name = format!("{form}.{key_type}");
            let key = self.key(form, key_type);
            let passphrase = self.passphrase(&name);
            let document = document(form, &key, &passphrase);
            self.derived_key(&name, &document, &passphrase);
            self.write(&format!("documents/{name}"), &document);
            self.declare(&format!("imported/{name}"), key_type, BACKEND);

            let name = format!("{form}-wrong.{key_type}");
            let passphrase = self.passphrase(&name);
            self.derived_key(&name, &document, &passphrase);
            self.write(&format!("refused-documents/{name}"), &document);
        }
    }

    /// What becomes of the passphrase of the document `name`.
    fn derived_key(&mut self, name: &str, document: &[u8], passphrase: &[u8]) {
        let key = derived_keys::of(document, passphrase);
        self.secret(&format!("derived from the passphrase of {name}"), &key);
    }

    /// A new passphrase of the document `name`.
    pub fn passphrase(&mut self, name: &str) -> Vec<u8> {
        let text = hex(&SecretKey::generate(KeyType::Ed25519).unwrap());
        self.secret(&format!("passphrase of {name}"), text.as_bytes());
        self.write(&format!("passphrases/{name}"), text.as_bytes());
        text.into()
    }

    /// A mnemonic, with a key of each type derived from it.
    fn add_words(&mut self) {
        let mnemonic = Mnemonic::generate(24).unwrap();
        let passphrase = self.passphrase("words");
        self.write("words", mnemonic.phrase().expose());
        self.secret("words", mnemonic.phrase().expose());
        self.secret("entropy of the words", mnemonic.entropy().expose());
        let seed = mnemonic.to_seed(&passphrase).unwrap();
        self.secret("seed of the words", seed.expose());
        for key_type in KeyType::ALL {
            self.declare_derived("words", &seed, *key_type, BACKEND);
        }
    }
}

/// The key in a document of this form.
pub fn document(form: &str, key: &SecretKey, passphrase: &[u8]) -> Vec<u8> {
    let SecretKey::Bls12381(key) = key else {
        return key.to_encrypted_pkcs8_pem(passphrase).unwrap().into();
    };
    let kdf = if form == "eip2335-scrypt" { Eip2335Kdf::Scrypt } else { Eip2335Kdf::Pbkdf2 };
    Eip2335Keystore::encrypt(key, passphrase, "", kdf).unwrap().to_json()
}
