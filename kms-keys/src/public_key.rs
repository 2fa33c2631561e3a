//! A public key of any type.

use std::fmt;

use crate::{
    Bls12381PublicKey, BlsCiphersuite, Ed25519PublicKey, KeyError, KeyType, Secp256k1PublicKey,
    Signature, SigningScheme, VerifyError, hex,
};

/// A public key whose type is known when running. `Display` writes the bytes in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublicKey {
    /// A key of type `ed25519`.
    Ed25519(Ed25519PublicKey),
    /// A key of type `secp256k1`.
    Secp256k1(Secp256k1PublicKey),
    /// A key of type `bls12-381`.
    Bls12381(Bls12381PublicKey),
}

impl PublicKey {
    /// Reads 32 bytes for Ed25519, 33 (compressed) or 65 (uncompressed) for secp256k1, 48 (compressed)
    /// for BLS12-381. Every point is checked.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`], [`KeyError::NotAPoint`], [`KeyError::NonCanonical`],
    /// [`KeyError::Identity`], [`KeyError::NotInSubgroup`]; see the `from_bytes` of each type.
    pub fn from_bytes(key_type: KeyType, bytes: &[u8]) -> Result<Self, KeyError> {
        Ok(match key_type {
            KeyType::Ed25519 => Self::Ed25519(Ed25519PublicKey::from_bytes(bytes)?),
            KeyType::Secp256k1 => Self::Secp256k1(Secp256k1PublicKey::from_bytes(bytes)?),
            KeyType::Bls12381 => Self::Bls12381(Bls12381PublicKey::from_bytes(bytes)?),
        })
    }

    /// Reads hexadecimal digits of either case, with an optional `0x` in front.
    ///
    /// # Errors
    /// [`KeyError::BadHex`], and those of [`PublicKey::from_bytes`].
    pub fn from_hex(key_type: KeyType, text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(key_type, &hex::decode(text.as_bytes())?)
    }

    /// The type of the key.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Ed25519(_) => KeyType::Ed25519,
            Self::Secp256k1(_) => KeyType::Secp256k1,
            Self::Bls12381(_) => KeyType::Bls12381,
        }
    }

    /// The key in its one printed form, of [`KeyType::public_key_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.to_bytes().into(),
            Self::Secp256k1(key) => key.to_bytes().into(),
            Self::Bls12381(key) => key.to_bytes().into(),
        }
    }

    /// [`PublicKey::to_bytes`] in lower-case hexadecimal, without a prefix.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(&self.to_bytes())
    }

    /// Checks that this key signed `message` in `scheme`. What the message is, depends on the scheme as
    /// in [`SecretKey::sign`](crate::SecretKey::sign).
    ///
    /// # Errors
    /// [`VerifyError`], if the signature is not good, also if scheme, message or signature do not fit
    /// the key at all.
    pub fn verify(
        &self,
        scheme: SigningScheme,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        use SigningScheme as S;
        match (self, scheme, signature) {
            (Self::Ed25519(key), S::Ed25519, Signature::Ed25519(signature)) => {
                key.verify(message, signature)
            }
            (Self::Secp256k1(key), S::EcdsaSha256, Signature::Ecdsa(signature)) => {
                key.verify_sha256(message, signature)
            }
            (Self::Secp256k1(key), S::EcdsaDigest, Signature::Ecdsa(signature)) => {
                key.verify_digest(message.try_into().map_err(|_| VerifyError)?, signature)
            }
            (Self::Secp256k1(key), S::Bip340, Signature::Bip340(signature)) => {
                key.verify_bip340(message, signature)
            }
            (Self::Bls12381(key), S::BlsBasic, Signature::Bls12381(signature)) => {
                key.verify(BlsCiphersuite::Basic, message, signature)
            }
            (Self::Bls12381(key), S::BlsAug, Signature::Bls12381(signature)) => {
                key.verify(BlsCiphersuite::Aug, message, signature)
            }
            (Self::Bls12381(key), S::BlsPop, Signature::Bls12381(signature)) => {
                key.verify(BlsCiphersuite::Pop, message, signature)
            }
            (Self::Bls12381(key), S::BlsPopProve, Signature::Bls12381(proof))
                if message.is_empty() =>
            {
                key.verify_possession(proof)
            }
            _ => Err(VerifyError),
        }
    }
}

impl From<Ed25519PublicKey> for PublicKey {
    fn from(key: Ed25519PublicKey) -> Self {
        Self::Ed25519(key)
    }
}

impl From<Secp256k1PublicKey> for PublicKey {
    fn from(key: Secp256k1PublicKey) -> Self {
        Self::Secp256k1(key)
    }
}

impl From<Bls12381PublicKey> for PublicKey {
    fn from(key: Bls12381PublicKey) -> Self {
        Self::Bls12381(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    #[test]
    fn keys_are_printed_and_read_back() {
        for key_type in KeyType::ALL {
            let key = SecretKey::generate(*key_type).unwrap().public_key();
            assert_eq!(key.key_type(), *key_type);
            assert_eq!(key.to_bytes().len(), key_type.public_key_len());
            assert_eq!(PublicKey::from_bytes(*key_type, &key.to_bytes()).as_ref(), Ok(&key));
            assert_eq!(PublicKey::from_hex(*key_type, &key.to_string()).as_ref(), Ok(&key));
            let loud = format!("0x{}", key.to_hex().to_uppercase());
            assert_eq!(PublicKey::from_hex(*key_type, &loud).as_ref(), Ok(&key));
            assert_eq!(PublicKey::from_hex(*key_type, "0"), Err(KeyError::BadHex));
        }
    }

    #[test]
    fn a_signature_counts_for_its_scheme_alone() {
        for key_type in KeyType::ALL {
            let key = SecretKey::from_bytes(*key_type, &[1; 32]).unwrap();
            for made_for in key_type.schemes() {
                let message = |scheme| match scheme {
                    SigningScheme::BlsPopProve => &[][..],
                    _ => &[7; 32],
                };
                let signature = key.sign(*made_for, message(*made_for)).unwrap();
                for scheme in SigningScheme::ALL {
                    let result = key.public_key().verify(*scheme, message(*scheme), &signature);
                    assert_eq!(result.is_ok(), scheme == made_for, "{made_for} as {scheme}");
                }
            }
        }
    }

    #[test]
    fn a_message_of_a_length_that_the_scheme_does_not_have_is_not_verified() {
        let key = SecretKey::from_bytes(KeyType::Bls12381, &[1; 32]).unwrap();
        let proof = key.sign(SigningScheme::BlsPopProve, b"").unwrap();
        let verified = key.public_key().verify(SigningScheme::BlsPopProve, b"m", &proof);
        assert_eq!(verified, Err(VerifyError));
    }
}
