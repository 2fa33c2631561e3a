//! The store's header: a part in clear, which says how the store is opened, and a part that only the
//! store key opens, which says what must be in the store.

use serde::{Deserialize, Serialize};

use super::VERSION;
use super::digest::Digest;
use super::seal::{self, StoreKey, StoreKeys};
use super::unlocker::{UnlockSecret, Unlocker, UnlockerKind};
use crate::error::StoreError;

/// The part in clear, stored as JSON. Its exact bytes are bound to the hidden part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    /// The version of the format.
    pub(crate) version: u32,
    /// 16 random bytes that tell this store from every other.
    #[serde(with = "crate::hex")]
    pub(crate) store: [u8; 16],
    /// The ways to the store key.
    pub(crate) unlockers: Vec<Unlocker>,
}

/// The most unlockers that a header may have; each passphrase among them costs a key derivation.
pub(crate) const MOST_UNLOCKERS: usize = 16;

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Header {
    /// A header of a new store.
    pub(crate) fn fresh() -> Result<Self, StoreError> {
        let mut store = [0; 16];
        getrandom::fill(&mut store).map_err(StoreError::Randomness)?;
        Ok(Self { version: VERSION, store, unlockers: Vec::new() })
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|_| StoreError::Bug("a header is JSON"))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let VersionOnly { version } =
            serde_json::from_slice(bytes).map_err(|_| StoreError::Header("no version in it"))?;
        if version != VERSION {
            return Err(StoreError::Version { found: version });
        }
        let header: Self = serde_json::from_slice(bytes)
            .map_err(|_| StoreError::Header("it is not what this version has"))?;
        if header.unlockers.is_empty() || header.unlockers.len() > MOST_UNLOCKERS {
            return Err(StoreError::Header("it has none, or too many, unlockers"));
        }
        Ok(header)
    }

    /// The store key, by the first unlocker that `secret` opens.
    pub(crate) fn unlock(&self, secret: &UnlockSecret) -> Result<StoreKey, StoreError> {
        self.find(secret).map(|(_, store_key)| store_key)
    }

    /// Which unlocker `secret` opens, and the store key.
    pub(crate) fn find(&self, secret: &UnlockSecret) -> Result<(usize, StoreKey), StoreError> {
        let mut tried = 0;
        for (at, unlocker) in self.unlockers.iter().enumerate() {
            if let UnlockerKind::Passphrase(kdf) = &unlocker.kind {
                kdf.check()?;
            }
            if unlocker.kind.takes(secret) {
                tried += 1;
                if let Some(store_key) = unlocker.open(secret, &self.store)? {
                    return Ok((at, store_key));
                }
            }
        }
        Err(StoreError::WrongKey { unlockers: tried })
    }

    /// The hidden part for a store with these records.
    pub(crate) fn seal(
        header: &[u8],
        keys: &StoreKeys,
        digest: &Digest,
    ) -> Result<Vec<u8>, StoreError> {
        seal::seal(&keys.header, header, &digest.to_bytes())
    }

    /// What the hidden part says of the store's records. `header` are the exact bytes in clear.
    pub(crate) fn open(
        header: &[u8],
        keys: &StoreKeys,
        hidden: &[u8],
    ) -> Result<Digest, StoreError> {
        let opened = seal::open(&keys.header, header, hidden);
        opened
            .and_then(|digest| Digest::from_bytes(digest.expose()))
            .ok_or(StoreError::Header("it was changed by somebody without the store's key"))
    }
}
