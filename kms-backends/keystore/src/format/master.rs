//! Masters: secrets that keys are derived from. Stored like records, in a table of their own.

use kms_keys::{KeyId, Mnemonic, MnemonicError, Seed};
use kms_secrets::SecretBytes;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::seal::{self, OpenKeys};
use crate::error::StoreError;

/// What may be known of a master. Stands in the store as JSON, in clear.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StoredMaster {
    /// The master's name.
    pub id: KeyId,
    /// What it is.
    pub kind: MasterKind,
    /// When it came into the store, in seconds since 1970.
    pub created: u64,
    /// Whether its secret may be exported. Decided when it comes into the store.
    pub exportable: bool,
}

/// What a master is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum MasterKind {
    /// A BIP-39 mnemonic with its passphrase, which may be empty.
    Mnemonic {
        /// How many words it has: 12, 15, 18, 21 or 24.
        words: u8,
    },
    /// A seed of 16 to 64 bytes.
    Seed {},
}

/// A master's secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum MasterSecret {
    /// A BIP-39 mnemonic.
    Mnemonic {
        /// The words.
        mnemonic: Mnemonic,
        /// The passphrase that goes with them (BIP-39); empty as a rule.
        passphrase: SecretBytes,
    },
    /// A seed.
    Seed(Seed),
}

/// A master as it is in memory: its secret stays sealed until it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MasterRecord {
    pub(crate) info: StoredMaster,
    /// The exact bytes that the secret is bound to.
    clear: Vec<u8>,
    sealed: Vec<u8>,
}

impl MasterSecret {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> MasterKind {
        match self {
            Self::Mnemonic { mnemonic, .. } => {
                MasterKind::Mnemonic { words: u8::try_from(mnemonic.words()).unwrap_or(u8::MAX) }
            }
            Self::Seed(_) => MasterKind::Seed {},
        }
    }

    /// The seed that keys are derived from.
    ///
    /// # Errors
    /// [`MnemonicError`], if a mnemonic's passphrase is no text.
    pub fn into_seed(self) -> Result<Seed, MnemonicError> {
        match self {
            Self::Mnemonic { mnemonic, passphrase } => mnemonic.to_seed(passphrase.expose()),
            Self::Seed(seed) => Ok(seed),
        }
    }

    /// Whether both are the same. Compared in constant time.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kind() == other.kind() && bool::from(self.to_bytes().ct_eq(&other.to_bytes()))
    }

    /// The secret as it is sealed: the seed, or the mnemonic's entropy followed by its passphrase.
    fn to_bytes(&self) -> SecretBytes {
        match self {
            Self::Mnemonic { mnemonic, passphrase } => {
                let (entropy, passphrase) = (mnemonic.entropy(), passphrase.expose());
                let len = entropy.len() + passphrase.len();
                let mut bytes = SecretBytes::with_capacity(len);
                let (front, back) = bytes.buffer_mut().split_at_mut(entropy.len());
                front.copy_from_slice(entropy.expose());
                back.copy_from_slice(passphrase);
                bytes.set_len(len);
                bytes
            }
            Self::Seed(seed) => SecretBytes::from_slice(seed.expose()),
        }
    }

    fn from_bytes(kind: MasterKind, bytes: &SecretBytes) -> Option<Self> {
        match kind {
            MasterKind::Mnemonic { words } => {
                let entropy = usize::from(words) / 3 * 4;
                let (entropy, passphrase) = bytes.expose().split_at_checked(entropy)?;
                let mnemonic = Mnemonic::from_entropy(entropy).ok()?;
                (mnemonic.words() == usize::from(words)).then(|| Self::Mnemonic {
                    mnemonic,
                    passphrase: SecretBytes::from_slice(passphrase),
                })
            }
            MasterKind::Seed {} => Seed::from_bytes(bytes.expose()).ok().map(Self::Seed),
        }
    }
}

impl MasterRecord {
    pub(crate) fn seal(
        info: StoredMaster,
        secret: &MasterSecret,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<Self, StoreError> {
        Self::with_secret(info, &secret.to_bytes(), store, keys)
    }

    /// The same master, sealed for a store with these keys.
    pub(crate) fn resealed(
        &self,
        from: (&[u8; 16], &OpenKeys<'_>),
        to: (&[u8; 16], &OpenKeys<'_>),
    ) -> Result<Self, StoreError> {
        let secret = self.secret_bytes(from.0, from.1)?;
        Self::with_secret(self.info.clone(), &secret, to.0, to.1)
    }

    fn with_secret(
        info: StoredMaster,
        secret: &SecretBytes,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<Self, StoreError> {
        let clear = serde_json::to_vec(&info).map_err(|_| StoreError::Bug("a master is JSON"))?;
        let sealed = seal::seal(keys.records, &bound(store, &clear), secret.expose())?;
        Ok(Self { info, clear, sealed })
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        seal::join(&self.clear, &self.sealed)
    }

    /// Reads a master that is stored under `name`. Whether its secret opens is another question.
    pub(crate) fn from_bytes(name: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Master { id: name.escape_ascii().to_string() };
        let (clear, sealed) = seal::split(bytes).ok_or_else(damaged)?;
        let info: StoredMaster = serde_json::from_slice(clear).map_err(|_| damaged())?;
        if info.id.as_str().as_bytes() != name {
            return Err(damaged());
        }
        Ok(Self { info, clear: clear.to_vec(), sealed: sealed.to_vec() })
    }

    pub(crate) fn open(
        &self,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<MasterSecret, StoreError> {
        let secret = self.secret_bytes(store, keys)?;
        MasterSecret::from_bytes(self.info.kind, &secret).ok_or_else(|| self.damaged())
    }

    fn secret_bytes(
        &self,
        store: &[u8; 16],
        keys: &OpenKeys<'_>,
    ) -> Result<SecretBytes, StoreError> {
        seal::open(keys.records, &bound(store, &self.clear), &self.sealed)
            .ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> StoreError {
        StoreError::Master { id: self.info.id.to_string() }
    }
}

/// What a master's secret is bound to: the store, and everything in clear.
fn bound(store: &[u8; 16], clear: &[u8]) -> Vec<u8> {
    [b"kms-keystore v1 master", &store[..], clear].concat()
}
