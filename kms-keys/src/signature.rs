//! A signature of any kind.

use crate::{
    Bip340Signature, Bls12381Signature, EcdsaSignature, Ed25519Signature, SignatureError,
    SigningScheme,
};

/// A signature whose kind is known when running. It does not record the scheme: one made with
/// `bls-pop` and one made with `bls-aug` look the same.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signature {
    /// Made with `ed25519`: 64 bytes.
    Ed25519(Ed25519Signature),
    /// Made with `ecdsa-sha256` or `ecdsa-digest`: 64 bytes, and often a recovery id.
    Ecdsa(EcdsaSignature),
    /// Made with `bip340`: 64 bytes.
    Bip340(Bip340Signature),
    /// Made with one of the `bls-…` schemes: 96 bytes.
    Bls12381(Bls12381Signature),
}

impl Signature {
    /// Reads a signature of `scheme`, of [`SigningScheme::signature_len`] bytes. One of ECDSA has no
    /// recovery id then.
    ///
    /// # Errors
    /// [`SignatureError`]; see the `from_bytes` of each kind.
    pub fn from_bytes(scheme: SigningScheme, bytes: &[u8]) -> Result<Self, SignatureError> {
        Ok(match scheme {
            SigningScheme::Ed25519 => Self::Ed25519(Ed25519Signature::from_bytes(bytes)?),
            SigningScheme::EcdsaSha256 | SigningScheme::EcdsaDigest => {
                Self::Ecdsa(EcdsaSignature::from_bytes(bytes)?)
            }
            SigningScheme::Bip340 => Self::Bip340(Bip340Signature::from_bytes(bytes)?),
            SigningScheme::BlsBasic
            | SigningScheme::BlsAug
            | SigningScheme::BlsPop
            | SigningScheme::BlsPopProve => Self::Bls12381(Bls12381Signature::from_bytes(bytes)?),
        })
    }

    /// The signature as bytes: 64, for BLS 96. The recovery id of ECDSA is not among them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(signature) => signature.to_bytes().into(),
            Self::Ecdsa(signature) => signature.to_bytes().into(),
            Self::Bip340(signature) => signature.to_bytes().into(),
            Self::Bls12381(signature) => signature.to_bytes().into(),
        }
    }

    /// The recovery id, from 0 to 3, of an ECDSA signature that was made here.
    #[must_use]
    pub fn recovery_id(&self) -> Option<u8> {
        match self {
            Self::Ecdsa(signature) => signature.recovery_id(),
            Self::Ed25519(_) | Self::Bip340(_) | Self::Bls12381(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyType, SecretKey};

    #[test]
    fn only_ecdsa_has_a_recovery_id_and_bytes_do_not_carry_it() {
        for key_type in KeyType::ALL {
            let key = SecretKey::from_bytes(*key_type, &[1; 32]).unwrap();
            let scheme = key_type.default_scheme();
            let signature = key.sign(scheme, b"m").unwrap();
            assert_eq!(signature.recovery_id().is_some(), *key_type == KeyType::Secp256k1);
            let again = Signature::from_bytes(scheme, &signature.to_bytes()).unwrap();
            assert_eq!(again.to_bytes(), signature.to_bytes());
            assert_eq!(again.recovery_id(), None);
        }
    }

    #[test]
    fn a_wrong_length_is_refused_for_every_scheme() {
        for scheme in SigningScheme::ALL {
            let expected = scheme.signature_len();
            for got in [0, expected - 1, expected + 1] {
                assert_eq!(
                    Signature::from_bytes(*scheme, &vec![1; got]),
                    Err(SignatureError::WrongLength { expected, got })
                );
            }
        }
    }
}
