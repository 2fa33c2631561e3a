//! Unlockers: each holds the store key, sealed under a key of its own. They are added and removed
//! without touching any record.

use std::collections::BTreeMap;

use hkdf::Hkdf;
use kms_backend::BackendError;
use kms_secrets::{SecretArray, SecretBytes, on_wiped_stack};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::kdf::Kdf;
use super::seal::{self, StoreKey};
use crate::clock::now;
use crate::error::StoreError;
use crate::external::External;

/// One way to the store key, as the header has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Unlocker {
    /// What people call it.
    pub name: String,
    /// What it takes.
    pub kind: UnlockerKind,
    /// When it was added, in seconds since 1970.
    pub added: u64,
    /// The store key, sealed under what it takes.
    #[serde(with = "crate::hex")]
    pub(crate) sealed: Vec<u8>,
}

/// What an unlocker takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum UnlockerKind {
    /// A passphrase, made into a key at a cost.
    Passphrase(Kdf),
    /// The content of a file: at least 32 bytes that nobody can guess.
    KeyFile {},
    /// Somebody else who opens what is sealed, such as an HSM or a cloud service. Unlockers of
    /// providers that nobody is told of are kept and listed.
    External {
        /// Who it is.
        provider: String,
        /// What that provider needs to know, nothing of it secret.
        parameters: BTreeMap<String, String>,
    },
}

/// A secret that opens a store.
#[derive(Debug)]
pub enum UnlockSecret {
    /// A passphrase.
    Passphrase(SecretBytes),
    /// The content of a key file, at least 32 bytes.
    KeyFile(SecretBytes),
    /// Somebody else, who is asked for each unlocker that is made or opened. What works on a store with
    /// it must not be called on a thread of an asynchronous runtime.
    External(External),
}

impl UnlockSecret {
    /// Says good-bye to whoever else is asked. To be called when no store is opened with this any more.
    pub async fn close(&self) {
        if let Self::External(external) = self {
            external.unlocker().close().await;
        }
    }
}

impl Unlocker {
    /// Seals `store_key` so that `secret` opens it.
    pub(crate) fn new(
        name: &str,
        secret: &UnlockSecret,
        store: &[u8; 16],
        store_key: &StoreKey,
    ) -> Result<Self, StoreError> {
        let is_shown = |name: &str| !name.is_empty() && !name.chars().any(char::is_control);
        if !is_shown(name) || name.chars().count() > 64 {
            return Err(StoreError::UnlockerName);
        }
        let kind = match secret {
            UnlockSecret::Passphrase(passphrase) if passphrase.is_empty() => {
                return Err(StoreError::EmptyPassphrase);
            }
            UnlockSecret::Passphrase(_) => UnlockerKind::Passphrase(Kdf::fresh()?),
            UnlockSecret::KeyFile(_) => UnlockerKind::KeyFile {},
            UnlockSecret::External(external) => UnlockerKind::External {
                provider: external.unlocker().provider().to_owned(),
                parameters: external.unlocker().parameters(),
            },
        };
        let added = now();
        let bound = bound(name, &kind, added, store)?;
        if let UnlockSecret::External(external) = secret {
            let sealed = external.seal(store_key, &bound);
            let sealed = sealed.map_err(|cause| failed(external, name, "sealed", cause))?;
            return Ok(Self { name: name.to_owned(), kind, added, sealed });
        }
        let sealed = on_wiped_stack(|| {
            let wrapping = kind.wrapping_key(secret, store)?;
            let wrapping = wrapping.ok_or(StoreError::Bug("the kind is made from the secret"))?;
            seal::seal(wrapping.expose(), &bound, store_key.expose())
        })?;
        Ok(Self { name: name.to_owned(), kind, added, sealed })
    }

    /// The store key, if `secret` is the one that opens this unlocker.
    pub(crate) fn open(
        &self,
        secret: &UnlockSecret,
        store: &[u8; 16],
    ) -> Result<Option<StoreKey>, StoreError> {
        let bound = bound(&self.name, &self.kind, self.added, store)?;
        if let UnlockSecret::External(external) = secret {
            if !self.kind.takes(secret) {
                return Ok(None);
            }
            let opened = external.open(&self.sealed, &bound);
            return opened.map(Some).map_err(|cause| failed(external, &self.name, "opened", cause));
        }
        on_wiped_stack(|| {
            let Some(wrapping) = self.kind.wrapping_key(secret, store)? else {
                return Ok(None);
            };
            let opened = seal::open(wrapping.expose(), &bound, &self.sealed);
            Ok(opened.and_then(|key| SecretArray::from_slice(key.expose())))
        })
    }
}

impl UnlockerKind {
    /// Whether it opens with what somebody has or knows, and nobody else's help.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !matches!(self, Self::External { .. })
    }

    /// Whether `secret` is of the kind that it takes.
    pub(crate) fn takes(&self, secret: &UnlockSecret) -> bool {
        match (self, secret) {
            (Self::Passphrase(_), UnlockSecret::Passphrase(_))
            | (Self::KeyFile {}, UnlockSecret::KeyFile(_)) => true,
            (Self::External { provider, parameters }, UnlockSecret::External(external)) => {
                external.is(provider, parameters)
            }
            _ => false,
        }
    }

    /// `None` if this kind takes another secret.
    fn wrapping_key(
        &self,
        secret: &UnlockSecret,
        store: &[u8; 16],
    ) -> Result<Option<SecretArray<32>>, StoreError> {
        match (self, secret) {
            (Self::Passphrase(kdf), UnlockSecret::Passphrase(passphrase)) => {
                kdf.key(passphrase.expose()).map(Some)
            }
            (Self::KeyFile {}, UnlockSecret::KeyFile(content)) => {
                if content.len() < 32 {
                    return Err(StoreError::ShortKeyFile { found: content.len() });
                }
                let derivation = Hkdf::<Sha256>::new(Some(store), content.expose());
                seal::expand(&derivation, b"kms-keystore v1 key file").map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn failed(
    external: &External,
    unlocker: &str,
    doing: &'static str,
    cause: BackendError,
) -> StoreError {
    let (unlocker, provider) = (unlocker.to_owned(), external.unlocker().provider());
    StoreError::External { unlocker, provider, doing, cause: Box::new(cause) }
}

/// What a sealed store key is bound to: everything about the unlocker that stands in clear.
fn bound(
    name: &str,
    kind: &UnlockerKind,
    added: u64,
    store: &[u8; 16],
) -> Result<Vec<u8>, StoreError> {
    let mut bound = b"kms-keystore v1 unlocker".to_vec();
    bound.extend(store);
    serde_json::to_writer(&mut bound, &(name, kind, added))
        .map_err(|_| StoreError::Bug("an unlocker is JSON"))?;
    Ok(bound)
}
