//! What is secret about a keystore's file, computed from what `docs/keystore-format.md` says alone.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What opens a store: the passphrase, or the content of the key file.
pub struct Unlock<'a>(pub &'a [u8]);

/// The secrets of a store, each by a name.
pub type StoreSecrets = Vec<(String, Vec<u8>)>;

#[derive(Deserialize)]
struct Header {
    store: String,
    /// Others may be of a kind that is not known here.
    unlockers: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Unlocker {
    name: String,
    kind: Kind,
    added: u64,
    sealed: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Passphrase { memory_kib: u32, passes: u32, lanes: u32, salt: String },
    KeyFile {},
}

type Entries = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The wrapping key (which is what the key derivation puts out), the store key, the keys derived from
/// it, and the secret of every version of every key (32 bytes each, named by the record's name).
/// Another process may have the store open, as long as it doesn't write.
#[must_use]
pub fn secrets_of(store: &Path, unlock: &Unlock<'_>) -> StoreSecrets {
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("store");
    std::fs::copy(store, &path).unwrap();
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_read().unwrap();
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let header = transaction.open_table(meta).unwrap().get("header").unwrap().unwrap();
    let Header { store, unlockers } = serde_json::from_slice(header.value()).unwrap();
    let store = hex(&store);
    let first = unlockers.into_iter().next().unwrap();
    let Unlocker { name, kind, added, sealed } = serde_json::from_value(first).unwrap();

    let wrapping = wrapping_key(&kind, unlock, &store);
    let json = serde_json::to_vec(&(name, kind, added)).unwrap();
    let bound = [&b"kms-keystore v1 unlocker"[..], &store, &json].concat();
    let store_key = open(&wrapping, &bound, &hex(&sealed));
    let derivation = Hkdf::<Sha256>::new(Some(&store), &store_key);
    let [records, header] =
        ["records", "header"].map(|purpose| derived::<32>(&derivation, purpose));
    let digest = derived::<64>(&derivation, "digest").to_vec();

    let entries: Entries = TableDefinition::new("records");
    let mut secrets = Vec::new();
    for entry in transaction.open_table(entries).unwrap().iter().unwrap() {
        let (name, entry) = entry.unwrap();
        let (name, entry) = (name.value(), entry.value());
        let (len, rest) = entry.split_first_chunk().unwrap();
        let (clear, sealed) = rest.split_at(u32::from_be_bytes(*len) as usize);
        let len = (name.len() as u64).to_be_bytes();
        let bound = [b"kms-keystore v1 record", &store[..], &len, name, clear].concat();
        secrets.push((name.escape_ascii().to_string(), open(&records, &bound, sealed)));
    }
    let keys = [
        ("derived from its passphrase or key file", wrapping.to_vec()),
        ("store key", store_key),
        ("records key", records.to_vec()),
        ("header key", header.to_vec()),
        ("digest key", digest),
    ];
    secrets.extend(keys.map(|(name, key)| (name.to_owned(), key)));
    secrets
}

fn wrapping_key(kind: &Kind, Unlock(secret): &Unlock<'_>, store: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    match kind {
        Kind::Passphrase { memory_kib, passes, lanes, salt } => {
            let params = Params::new(*memory_kib, *passes, *lanes, Some(32)).unwrap();
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(secret, &hex(salt), &mut key)
                .unwrap();
        }
        Kind::KeyFile {} => {
            key = derived(&Hkdf::new(Some(store), secret), "key file");
        }
    }
    key
}

fn derived<const N: usize>(derivation: &Hkdf<Sha256>, purpose: &str) -> [u8; N] {
    let mut key = [0; N];
    derivation.expand(format!("kms-keystore v1 {purpose}").as_bytes(), &mut key).unwrap();
    key
}

fn open(key: &[u8], bound: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (nonce, rest) = sealed.split_at(24);
    let (text, tag) = rest.split_at(rest.len() - 16);
    let mut plain = vec![0; text.len()];
    let nonce = XNonce::try_from(nonce).unwrap();
    XChaCha20Poly1305::new_from_slice(key)
        .unwrap()
        .decrypt_inout_detached(
            &nonce,
            bound,
            InOutBuf::new(text, &mut plain).unwrap(),
            &Tag::try_from(tag).unwrap(),
        )
        .unwrap();
    plain
}

fn hex(text: &str) -> Vec<u8> {
    base16ct::lower::decode_vec(text).unwrap()
}
