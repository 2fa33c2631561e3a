//! Records: one for each version of each key. What may be known stands in clear, the secret is
//! sealed, and the one is bound to the other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use kms_backend::{Derivation, KeyInfo, KeyState};
use kms_keys::{KeyId, KeyType, PublicKey, SecretKey};
use kms_secrets::SecretBytes;
use serde::{Deserialize, Serialize};

use super::seal::{self, OpenKeys};
use crate::error::StoreError;

/// What may be known of a version of a key. Stands in the store as JSON, in clear.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StoredKey {
    /// The key's name.
    pub id: KeyId,
    /// The key's type.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// The version, from 1 on.
    pub version: u32,
    /// The public key of this version, in hex.
    pub public_key: String,
    /// Whether the key may be used. Only the newest version's counts.
    pub state: StoredState,
    /// When this version was made, in seconds since 1970.
    pub created: u64,
    /// What people noted about it.
    pub labels: BTreeMap<String, String>,
    /// The master and path that the key was derived from, if it was.
    pub derivation: Option<Derivation>,
    /// What may be done with it.
    pub flags: KeyFlags,
}

/// What may be done with a version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyFlags {
    /// Whether the secret may be exported. Decided when the key is made; nothing turns it on later.
    pub exportable: bool,
    /// Whether the key can't be scheduled for deletion. Only the newest version's counts.
    pub protected: bool,
    /// Whether this version, which is not the newest, signs no longer.
    pub retired: bool,
}

/// Whether a key may be used, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum StoredState {
    /// It signs.
    Active,
    /// It doesn't sign until it is enabled.
    Disabled,
    /// It doesn't sign, and may be destroyed from `not_before` on, in seconds since 1970.
    PendingDeletion {
        /// Seconds since 1970.
        not_before: u64,
    },
    /// Its secret is gone. The record stays, so that the id is never given to another key.
    Destroyed {
        /// When, in seconds since 1970.
        at: u64,
    },
}

/// A record as it is in memory: the secret stays sealed until it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) info: StoredKey,
    /// The exact bytes that the secret is bound to.
    clear: Vec<u8>,
    sealed: Vec<u8>,
}

impl StoredKey {
    /// The public key of this version.
    ///
    /// # Errors
    /// [`StoreError::Record`], if it is none.
    pub fn public_key(&self) -> Result<PublicKey, StoreError> {
        PublicKey::from_hex(self.key_type, &self.public_key)
            .map_err(|_| StoreError::Record { id: self.id.to_string(), version: self.version })
    }

    /// What the service is told of the key, if it is not destroyed.
    pub(crate) fn key_info(&self, backend: &str) -> Result<KeyInfo, StoreError> {
        let mut info = KeyInfo::new(self.id.clone(), self.public_key()?, backend);
        info.version = self.version;
        info.state = match self.state {
            StoredState::Active => KeyState::Active,
            StoredState::Disabled => KeyState::Disabled,
            StoredState::Destroyed { .. } => return Err(StoreError::Destroyed(self.id.clone())),
            StoredState::PendingDeletion { not_before } => {
                KeyState::PendingDeletion { not_before: time(not_before) }
            }
        };
        info.created = Some(time(self.created));
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
        info: StoredKey,
        secret: &SecretKey,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<Self, StoreError> {
        Self::with_secret(info, secret.expose_secret().expose(), store, keys)
    }

    /// The same secret with other things known of it, sealed for a store with these keys.
    pub(crate) fn resealed(
        &self,
        info: StoredKey,
        from: (&[u8; 16], &OpenKeys<'_>),
        to: (&[u8; 16], &OpenKeys<'_>),
    ) -> Result<Self, StoreError> {
        let secret = self.secret_bytes(from.0, from.1)?;
        Self::with_secret(info, secret.expose(), to.0, to.1)
    }

    /// Reads what [`Record::to_bytes`] gave of a record of this store.
    pub(crate) fn read_again(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Bug("a record in memory is what was read from the store");
        let (clear, sealed) = seal::split(bytes).ok_or_else(damaged)?;
        let info = serde_json::from_slice(clear).map_err(|_| damaged())?;
        Ok(Self { info, clear: clear.to_vec(), sealed: sealed.to_vec() })
    }

    /// This record, if its secret is still there.
    pub(crate) fn unless_destroyed(self) -> Result<Self, StoreError> {
        match self.info.state {
            StoredState::Destroyed { .. } => Err(StoreError::Destroyed(self.info.id)),
            _ => Ok(self),
        }
    }

    /// Proves that a destroyed record holds no secret and is what was written.
    pub(crate) fn prove_empty(
        &self,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<(), StoreError> {
        match self.secret_bytes(store, keys)?.is_empty() {
            true => Ok(()),
            false => Err(damaged(&name(&self.info.id, self.info.version))),
        }
    }

    /// A record without a secret.
    pub(crate) fn destroyed(
        &self,
        at: u64,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<Self, StoreError> {
        let info = StoredKey { state: StoredState::Destroyed { at }, ..self.info.clone() };
        Self::with_secret(info, &[], store, keys)
    }

    fn with_secret(
        info: StoredKey,
        secret: &[u8],
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<Self, StoreError> {
        let clear = serde_json::to_vec(&info).map_err(|_| StoreError::Bug("a record is JSON"))?;
        let bound = bound(store, &name(&info.id, info.version), &clear);
        let sealed = seal::seal(keys.records, &bound, secret)?;
        Ok(Self { info, clear, sealed })
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        seal::join(&self.clear, &self.sealed)
    }

    /// Reads a record that is stored under `name`. Whether its secret opens is another question.
    pub(crate) fn from_bytes(name: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || damaged(name);
        let (clear, sealed) = seal::split(bytes).ok_or_else(damaged)?;
        let info: StoredKey = serde_json::from_slice(clear).map_err(|_| damaged())?;
        if self::name(&info.id, info.version) != name || info.version == 0 {
            return Err(damaged());
        }
        Ok(Self { info, clear: clear.to_vec(), sealed: sealed.to_vec() })
    }

    /// Opens the secret and makes the key of it, which must be the one of the public key.
    pub(crate) fn open(
        &self,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<SecretKey, StoreError> {
        let secret = self.secret_bytes(store, keys)?;
        let StoredKey { id, key_type, version, public_key, .. } = &self.info;
        let key = SecretKey::from_bytes(*key_type, secret.expose())
            .map_err(|cause| StoreError::Secret { id: id.clone(), cause })?;
        if key.public_key().to_hex() == *public_key {
            Ok(key)
        } else {
            Err(StoreError::Record { id: id.to_string(), version: *version })
        }
    }

    fn secret_bytes(
        &self,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<SecretBytes, StoreError> {
        let StoredKey { id, version, .. } = &self.info;
        let bound = bound(store, &name(id, *version), &self.clear);
        seal::open(keys.records, &bound, &self.sealed)
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
