//! What `kms import` does.

use std::error::Error;
use std::fs;
use std::path::Path;

use kms_backend_keystore::{MasterSecret, NewKey, Store, UnlockSource};
use kms_keys::{Eip2335Keystore, KeyType, Mnemonic, SecretKey};
use kms_secrets::{
    DecodedSecret, Encoding, PassphraseSource, SecretBytes, SecretSource, SourceError, stdin,
};
use kms_tests::id;
use kms_tests::memory::KEY_FILE_STORE;

/// The store that a key file opens.
pub fn store(folder: &Path) -> Store {
    let unlock = UnlockSource::KeyFile("key".into()).read(folder).unwrap();
    Store::open(&folder.join(KEY_FILE_STORE), &unlock).unwrap()
}

/// Imports the key on standard input, the words in the file `words`, and every document of the folder
/// `documents`; and tries those of `refused-documents`, whose passphrases are others.
pub fn import_all(folder: &Path) {
    let store = store(folder);
    let text = stdin::read(64).unwrap();
    let key = SecretKey::from_hex(KeyType::Secp256k1, text.expose()).unwrap();
    store.import(&NewKey::new(id("imported/stdin"), KeyType::Secp256k1), &key).unwrap();

    let words = read(&folder.join("words")).unwrap();
    let mnemonic = Mnemonic::parse(words.expose()).unwrap();
    let passphrase = passphrase(folder, "words").unwrap();
    mnemonic.to_seed(passphrase.expose()).unwrap();
    let master = MasterSecret::Mnemonic { mnemonic, passphrase };
    store.add_master(&id("words"), &master, false).unwrap();

    for file in fs::read_dir(folder.join("documents")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let (_, key_type) = name.split_once('.').unwrap();
        let key_type = key_type.parse().unwrap();
        let key = key_of(folder, "documents", &name, key_type).unwrap();
        store.import(&NewKey::new(id(&format!("imported/{name}")), key_type), &key).unwrap();
    }
    for file in fs::read_dir(folder.join("refused-documents")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let (_, key_type) = name.split_once('.').unwrap();
        key_of(folder, "refused-documents", &name, key_type.parse().unwrap()).unwrap_err();
    }
}

/// The key in an encrypted document.
pub fn key_of(
    folder: &Path,
    documents: &str,
    name: &str,
    key_type: KeyType,
) -> Result<SecretKey, Box<dyn Error>> {
    let document = read(&folder.join(documents).join(name))?;
    let passphrase = passphrase(folder, name)?;
    if name.starts_with("eip2335") {
        let keystore = Eip2335Keystore::from_json(document.expose())?;
        return Ok(keystore.decrypt(passphrase.expose())?.into());
    }
    let (text, passphrase) = (document.expose(), passphrase.expose());
    Ok(SecretKey::from_encrypted_pkcs8_pem(key_type, text, passphrase)?)
}

fn passphrase(folder: &Path, name: &str) -> Result<SecretBytes, Box<dyn Error>> {
    let path = folder.join("passphrases").join(name);
    Ok(PassphraseSource::File { path, group_readable: false }.read()?)
}

fn read(path: &Path) -> Result<SecretBytes, SourceError> {
    let encoding = Some(Encoding::Raw);
    match (SecretSource::File { path: path.into(), encoding, group_readable: false }).read()? {
        DecodedSecret::Bytes(bytes) | DecodedSecret::Pem { der: bytes, .. } => Ok(bytes),
    }
}
