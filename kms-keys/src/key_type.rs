//! The kinds of key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::SigningScheme;

/// The kind of a key: its curve, and with it the form of its keys.
///
/// Written (`Display`, `FromStr`, serde) by the name that [`KeyType::as_str`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
#[non_exhaustive]
pub enum KeyType {
    /// `ed25519`: Edwards25519 with SHA-512 (RFC 8032).
    Ed25519,
    /// `secp256k1`: the Koblitz curve of SEC 2, for ECDSA and BIP-340.
    Secp256k1,
    /// `bls12-381`: BLS12-381 with 48-byte public keys in G1 and 96-byte signatures in G2 ("min-pk").
    Bls12381,
}

impl KeyType {
    /// Every key type there is.
    pub const ALL: &'static [Self] = &[Self::Ed25519, Self::Secp256k1, Self::Bls12381];

    /// The name in settings and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Secp256k1 => "secp256k1",
            Self::Bls12381 => "bls12-381",
        }
    }

    /// What a key of this type is used for where nothing else is said.
    #[must_use]
    pub const fn default_scheme(self) -> SigningScheme {
        match self {
            Self::Ed25519 => SigningScheme::Ed25519,
            Self::Secp256k1 => SigningScheme::EcdsaSha256,
            Self::Bls12381 => SigningScheme::BlsPop,
        }
    }

    /// All that a key of this type can be used for, the default first.
    #[must_use]
    pub const fn schemes(self) -> &'static [SigningScheme] {
        match self {
            Self::Ed25519 => &[SigningScheme::Ed25519],
            Self::Secp256k1 => {
                &[SigningScheme::EcdsaSha256, SigningScheme::EcdsaDigest, SigningScheme::Bip340]
            }
            Self::Bls12381 => &[
                SigningScheme::BlsPop,
                SigningScheme::BlsBasic,
                SigningScheme::BlsAug,
                SigningScheme::BlsPopProve,
            ],
        }
    }

    /// The bytes of a public key as this crate writes it: 32, 33 (compressed) or 48 (compressed).
    #[must_use]
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::Secp256k1 => 33,
            Self::Bls12381 => 48,
        }
    }

    /// The bytes of a secret key in import form: 32 for every type.
    #[must_use]
    pub const fn secret_key_len(self) -> usize {
        32
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<KeyType> for &'static str {
    fn from(key_type: KeyType) -> Self {
        key_type.as_str()
    }
}

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(name: &str) -> Result<Self, UnknownKeyType> {
        Self::ALL.iter().copied().find(|t| t.as_str() == name).ok_or(UnknownKeyType)
    }
}

impl TryFrom<String> for KeyType {
    type Error = UnknownKeyType;

    fn try_from(name: String) -> Result<Self, UnknownKeyType> {
        name.parse()
    }
}

/// A name that no key type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("unknown key type; expected ed25519, secp256k1 or bls12-381")]
#[non_exhaustive]
pub struct UnknownKeyType;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for key_type in KeyType::ALL {
            assert_eq!(key_type.to_string().parse(), Ok(*key_type));
            assert!(UnknownKeyType.to_string().contains(key_type.as_str()));
            let json = serde_json::to_string(key_type).unwrap();
            assert_eq!(json, format!("\"{key_type}\""));
            assert_eq!(serde_json::from_str::<KeyType>(&json).unwrap(), *key_type);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "Ed25519", "ed25519 ", "p256", "bls12381"] {
            assert_eq!(name.parse::<KeyType>(), Err(UnknownKeyType), "{name}");
        }
        assert!(serde_json::from_str::<KeyType>("\"rsa\"").is_err());
    }

    #[test]
    fn schemes_belong_to_their_type_and_begin_with_the_default() {
        for key_type in KeyType::ALL {
            assert_eq!(key_type.schemes()[0], key_type.default_scheme());
            assert!(key_type.schemes().iter().all(|scheme| scheme.key_type() == *key_type));
        }
        let all: usize = KeyType::ALL.iter().map(|t| t.schemes().len()).sum();
        assert_eq!(all, SigningScheme::ALL.len());
    }
}
