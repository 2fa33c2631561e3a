//! What is done with a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::KeyType;

/// A way to sign, each for the keys of one [`KeyType`].
///
/// Written (`Display`, `FromStr`, serde) by the name that [`SigningScheme::as_str`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
#[non_exhaustive]
pub enum SigningScheme {
    /// `ed25519`: Ed25519 (RFC 8032, the pure variant) over a message of any length. Deterministic.
    Ed25519,
    /// `ecdsa-sha256`: ECDSA (SEC 1) over a message of any length, hashed once with SHA-256.
    /// Deterministic (RFC 6979), low-S, with recovery id.
    EcdsaSha256,
    /// `ecdsa-digest`: as `ecdsa-sha256`, over a digest of 32 bytes that is signed as it is. Whoever
    /// may choose the digest may have any message signed, whatever its hash function.
    EcdsaDigest,
    /// `bip340`: Schnorr signatures (BIP-340) over a message of any length, which is not hashed before.
    /// Randomised.
    Bip340,
    /// `bls-basic`: BLS (draft-irtf-cfrg-bls-signature), ciphersuite `…_NUL_`. Aggregates only over
    /// messages that all differ.
    BlsBasic,
    /// `bls-aug`: BLS, ciphersuite `…_AUG_`: the public key is signed in front of the message.
    BlsAug,
    /// `bls-pop`: BLS, ciphersuite `…_POP_`, as in Ethereum. Aggregates over one message are sound
    /// only between keys whose proof of possession was checked.
    BlsPop,
    /// `bls-pop-prove`: the proof of possession itself, over the public key under a tag of its own.
    /// The message must be empty.
    BlsPopProve,
}

impl SigningScheme {
    /// Every scheme there is.
    pub const ALL: &'static [Self] = &[
        Self::Ed25519,
        Self::EcdsaSha256,
        Self::EcdsaDigest,
        Self::Bip340,
        Self::BlsBasic,
        Self::BlsAug,
        Self::BlsPop,
        Self::BlsPopProve,
    ];

    /// The name in settings and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaSha256 => "ecdsa-sha256",
            Self::EcdsaDigest => "ecdsa-digest",
            Self::Bip340 => "bip340",
            Self::BlsBasic => "bls-basic",
            Self::BlsAug => "bls-aug",
            Self::BlsPop => "bls-pop",
            Self::BlsPopProve => "bls-pop-prove",
        }
    }

    /// The type of the keys that sign so.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::Ed25519 => KeyType::Ed25519,
            Self::EcdsaSha256 | Self::EcdsaDigest | Self::Bip340 => KeyType::Secp256k1,
            Self::BlsBasic | Self::BlsAug | Self::BlsPop | Self::BlsPopProve => KeyType::Bls12381,
        }
    }

    /// The bytes of a signature: 64, for BLS 96. The recovery id of ECDSA is not counted.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::EcdsaSha256 | Self::EcdsaDigest | Self::Bip340 => 64,
            Self::BlsBasic | Self::BlsAug | Self::BlsPop | Self::BlsPopProve => 96,
        }
    }

    /// The one length in bytes that a message must have: 32 for [`EcdsaDigest`](Self::EcdsaDigest),
    /// 0 for [`BlsPopProve`](Self::BlsPopProve). `None` where any length will do.
    #[must_use]
    pub const fn message_len(self) -> Option<usize> {
        match self {
            Self::EcdsaDigest => Some(32),
            Self::BlsPopProve => Some(0),
            Self::Ed25519
            | Self::EcdsaSha256
            | Self::Bip340
            | Self::BlsBasic
            | Self::BlsAug
            | Self::BlsPop => None,
        }
    }
}

impl fmt::Display for SigningScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<SigningScheme> for &'static str {
    fn from(scheme: SigningScheme) -> Self {
        scheme.as_str()
    }
}

impl FromStr for SigningScheme {
    type Err = UnknownSigningScheme;

    fn from_str(name: &str) -> Result<Self, UnknownSigningScheme> {
        Self::ALL.iter().copied().find(|s| s.as_str() == name).ok_or(UnknownSigningScheme)
    }
}

impl TryFrom<String> for SigningScheme {
    type Error = UnknownSigningScheme;

    fn try_from(name: String) -> Result<Self, UnknownSigningScheme> {
        name.parse()
    }
}

/// A name that no signing scheme has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "unknown signing scheme; expected ed25519, ecdsa-sha256, ecdsa-digest, bip340, bls-basic, \
     bls-aug, bls-pop or bls-pop-prove"
)]
#[non_exhaustive]
pub struct UnknownSigningScheme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for scheme in SigningScheme::ALL {
            assert_eq!(scheme.to_string().parse(), Ok(*scheme));
            assert!(UnknownSigningScheme.to_string().contains(scheme.as_str()));
            let json = serde_json::to_string(scheme).unwrap();
            assert_eq!(json, format!("\"{scheme}\""));
            assert_eq!(serde_json::from_str::<SigningScheme>(&json).unwrap(), *scheme);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "ecdsa", "BIP340", "bls-pop ", "bls_pop"] {
            assert_eq!(name.parse::<SigningScheme>(), Err(UnknownSigningScheme), "{name}");
        }
    }
}
