//! The store's header: a part in clear, which says how the store is opened, and a part that only the
//! store key opens, which says what must be in the store.

use serde::{Deserialize, Serialize};

use super::VERSION;
use super::digest::Digest;
use super::seal::{self, OpenKeys, StoreKey};
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
        let (mut tried, mut failed) = (0, None);
        for (at, unlocker) in self.unlockers.iter().enumerate() {
            if let UnlockerKind::Passphrase(kdf) = &unlocker.kind {
                kdf.check()?;
            }
            if unlocker.kind.takes(secret) {
                tried += 1;
                match unlocker.open(secret, &self.store) {
                    Ok(Some(store_key)) => return Ok((at, store_key)),
                    Ok(None) => {}
                    // Another one may open all the same.
                    Err(error @ StoreError::External { .. }) => failed = failed.or(Some(error)),
                    Err(error) => return Err(error),
                }
            }
        }
        Err(failed.unwrap_or(StoreError::WrongKey { unlockers: tried }))
    }

    /// The hidden part for a store with these records.
    pub(crate) fn seal(
        header: &[u8],
        keys: &OpenKeys<'_>,
        digest: &Digest,
    ) -> Result<Vec<u8>, StoreError> {
        seal::seal(keys.header, header, &digest.to_bytes())
    }

    /// What the hidden part says of the store's records. `header` are the exact bytes in clear.
    pub(crate) fn open(
        header: &[u8],
        keys: &OpenKeys<'_>,
        hidden: &[u8],
    ) -> Result<Digest, StoreError> {
        let opened = seal::open(keys.header, header, hidden);
        opened
            .and_then(|digest| Digest::from_bytes(digest.expose()))
            .ok_or(StoreError::Header("it was changed by somebody without the store's key"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kms_secrets::SecretBytes;

    use super::*;
    use crate::format::seal::random_key;

    fn key_file(byte: u8) -> UnlockSecret {
        UnlockSecret::KeyFile(SecretBytes::from_slice(&[byte; 32]))
    }

    /// A header with an unlocker of a provider that nobody is told of, between two others.
    fn with_external() -> (Header, StoreKey) {
        let store_key = random_key().unwrap();
        let mut header = Header::fresh().unwrap();
        let unlocker = |name: &str, byte| {
            Unlocker::new(name, &key_file(byte), &header.store, &store_key).unwrap()
        };
        let parameters = BTreeMap::from([("key".to_owned(), "alias/node".to_owned())]);
        let kind = UnlockerKind::External { provider: "aws".into(), parameters };
        let external = Unlocker { name: "cloud".into(), kind, added: 1, sealed: vec![1; 300] };
        header.unlockers = vec![unlocker("a", 1), external, unlocker("b", 2)];
        (header, store_key)
    }

    #[test]
    fn unlockers_that_others_open_are_kept_and_passed_over() {
        let (header, store_key) = with_external();
        let read = Header::from_bytes(&header.to_bytes().unwrap()).unwrap();
        assert_eq!(read, header);
        let (at, found) = read.find(&key_file(2)).unwrap();
        assert_eq!((at, found.expose()), (2, store_key.expose()));
        assert!(matches!(read.find(&key_file(3)), Err(StoreError::WrongKey { unlockers: 2 })));
        assert!(!read.unlockers[1].kind.is_local());
    }

    #[test]
    fn headers_that_are_none_are_refused() {
        let (header, _) = with_external();
        let text = String::from_utf8(header.to_bytes().unwrap()).unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":\"1\""),
            ("\"store\":\"", "\"store\":\"00"),
            ("\"key_file\":{}", "\"key_file\":{\"x\":1}"),
            ("\"unlockers\":[", "\"unlockers\":[],\"x\":["),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            let refused = Header::from_bytes(changed.as_bytes());
            assert!(matches!(refused, Err(StoreError::Header(_))), "{from}: {refused:?}");
        }
        let mut many = header.clone();
        many.unlockers = vec![header.unlockers[0].clone(); MOST_UNLOCKERS + 1];
        assert!(Header::from_bytes(&many.to_bytes().unwrap()).is_err());
        many.unlockers.clear();
        assert!(Header::from_bytes(&many.to_bytes().unwrap()).is_err());
    }
}
