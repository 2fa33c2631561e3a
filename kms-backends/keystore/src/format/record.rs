//! Records: one for each version of each key. What may be known stands in clear, the secret is
//! sealed, and the one is bound to the other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use kms_backend::{KeyInfo, KeyState};
use kms_keys::{KeyId, KeyType, PublicKey, SecretKey};
use kms_secrets::SecretBytes;
use serde::{Deserialize, Serialize};

use super::seal::{self, StoreKeys};
use crate::error::StoreError;

/// What may be known of a version of a key. Stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordInfo {
    /// The key's name.
    pub(crate) id: KeyId,
    /// The key's type.
    #[serde(rename = "type")]
    pub(crate) key_type: KeyType,
    /// The version, from 1 on.
    pub(crate) version: u32,
    /// The public key of this version, in hex.
    pub(crate) public_key: String,
    /// Whether the key may be used.
    pub(crate) state: RecordState,
    /// When this version was made, in seconds since 1970.
    pub(crate) created: u64,
    /// What people noted about it.
    pub(crate) labels: BTreeMap<String, String>,
}

/// Whether a key may be used, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RecordState {
    /// It signs.
    Active,
    /// It doesn't sign until it is enabled.
    Disabled,
    /// It doesn't sign, and may be destroyed from `not_before` on, in seconds since 1970.
    PendingDeletion {
        /// Seconds since 1970.
        not_before: u64,
    },
}

/// A record as it is in memory: the secret stays sealed until it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) info: RecordInfo,
    /// The exact bytes that the secret is bound to.
    clear: Vec<u8>,
    sealed: Vec<u8>,
}

impl RecordInfo {
    /// What the service is told of the key.
    pub(crate) fn key_info(&self, backend: &str) -> Result<KeyInfo, StoreError> {
        let Self { id, key_type, version, public_key, state, created, .. } = self;
        let public_key = PublicKey::from_hex(*key_type, public_key)
            .map_err(|_| StoreError::Record { id: id.to_string(), version: *version })?;
        let mut info = KeyInfo::new(id.clone(), public_key, backend);
        info.version = *version;
        info.state = match *state {
            RecordState::Active => KeyState::Active,
            RecordState::Disabled => KeyState::Disabled,
            RecordState::PendingDeletion { not_before } => {
                KeyState::PendingDeletion { not_before: time(not_before) }
            }
        };
        info.created = Some(time(*created));
        Ok(info)
    }
}

/// The name of a record in the store: the key's id, a zero byte, and the version, big-endian. In the
/// order of their names, records are in the order of their ids.
pub(crate) fn name(id: &KeyId, version: u32) -> Vec<u8> {
    let mut name = id.as_str().as_bytes().to_vec();
    name.push(0);
    name.extend(version.to_be_bytes());
    name
}

impl Record {
    /// Seals `secret` into a record.
    pub(crate) fn seal(
        info: RecordInfo,
        secret: &SecretKey,
        store: &[u8; 16],
        keys: &StoreKeys,
    ) -> Result<Self, StoreError> {
        let clear = serde_json::to_vec(&info).map_err(|_| StoreError::Bug("a record is JSON"))?;
        let bound = bound(store, &name(&info.id, info.version), &clear);
        let sealed = seal::seal(&keys.records, &bound, secret.expose_secret().expose())?;
        Ok(Self { info, clear, sealed })
    }

    /// The same secret with other things known of it.
    pub(crate) fn with_info(
        &self,
        info: RecordInfo,
        store: &[u8; 16],
        keys: &StoreKeys,
    ) -> Result<Self, StoreError> {
        let secret = self.secret_bytes(store, keys)?;
        let clear = serde_json::to_vec(&info).map_err(|_| StoreError::Bug("a record is JSON"))?;
        let bound = bound(store, &name(&info.id, info.version), &clear);
        let sealed = seal::seal(&keys.records, &bound, secret.expose())?;
        Ok(Self { info, clear, sealed })
    }

    /// The record as it is stored: the length of the part in clear (4 bytes, big-endian), that part,
    /// the sealed secret.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        let len = u32::try_from(self.clear.len()).map_err(|_| StoreError::Bug("ids are short"))?;
        Ok([&len.to_be_bytes()[..], &self.clear, &self.sealed].concat())
    }

    /// Reads a record that is stored under `name`. Whether its secret opens is another question.
    pub(crate) fn from_bytes(name: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || damaged(name);
        let (len, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| damaged())?;
        let (clear, sealed) = rest.split_at_checked(len).ok_or_else(damaged)?;
        let info: RecordInfo = serde_json::from_slice(clear).map_err(|_| damaged())?;
        if self::name(&info.id, info.version) != name || info.version == 0 {
            return Err(damaged());
        }
        Ok(Self { info, clear: clear.to_vec(), sealed: sealed.to_vec() })
    }

    /// Opens the secret and makes the key of it, which must be the one of the public key.
    pub(crate) fn open(&self, store: &[u8; 16], keys: &StoreKeys) -> Result<SecretKey, StoreError> {
        let secret = self.secret_bytes(store, keys)?;
        let RecordInfo { id, key_type, version, public_key, .. } = &self.info;
        let key = SecretKey::from_bytes(*key_type, secret.expose())
            .map_err(|cause| StoreError::Secret { id: id.clone(), cause })?;
        if key.public_key().to_hex() == *public_key {
            Ok(key)
        } else {
            Err(StoreError::Record { id: id.to_string(), version: *version })
        }
    }

    fn secret_bytes(&self, store: &[u8; 16], keys: &StoreKeys) -> Result<SecretBytes, StoreError> {
        let RecordInfo { id, version, .. } = &self.info;
        let bound = bound(store, &name(id, *version), &self.clear);
        seal::open(&keys.records, &bound, &self.sealed)
            .ok_or_else(|| StoreError::Record { id: id.to_string(), version: *version })
    }
}

/// What a secret is bound to: the store, the record's name, and everything in clear.
fn bound(store: &[u8; 16], name: &[u8], clear: &[u8]) -> Vec<u8> {
    let mut bound = b"kms-keystore v1 record".to_vec();
    bound.extend(store);
    bound.extend((name.len() as u64).to_be_bytes());
    bound.extend(name);
    bound.extend(clear);
    bound
}

fn damaged(name: &[u8]) -> StoreError {
    let (id, version) = name.split_last_chunk().map_or((name, 0), |(id, version)| {
        (id.strip_suffix(b"\0").unwrap_or(id), u32::from_be_bytes(*version))
    });
    StoreError::Record { id: id.escape_ascii().to_string(), version }
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
