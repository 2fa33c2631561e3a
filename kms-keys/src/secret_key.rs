//! A secret key of any type.

use std::fmt;

use crate::document::{PRIVATE_KEY, decode_pem};
use crate::private_key_info::PrivateKeyInfo;
use crate::{
    Bls12381SecretKey, BlsCiphersuite, Ed25519SecretKey, KeyError, KeyType, PublicKey,
    Secp256k1SecretKey, SecretRef, SignError, Signature, SigningScheme, hex,
};

/// A secret key whose type is known when running.
///
/// No `Clone`, no `Display`, no serialisation, no comparison. `Debug` shows the public key alone.
///
/// ```compile_fail
/// let key = kms_keys::SecretKey::generate(kms_keys::KeyType::Ed25519).unwrap();
/// let copy = key.clone();
/// ```
///
/// ```compile_fail
/// let key = kms_keys::SecretKey::generate(kms_keys::KeyType::Ed25519).unwrap();
/// println!("{key}");
/// ```
///
/// ```compile_fail
/// let key = kms_keys::SecretKey::generate(kms_keys::KeyType::Ed25519).unwrap();
/// assert!(key == key);
/// ```
///
/// ```compile_fail
/// let key = kms_keys::SecretKey::generate(kms_keys::KeyType::Ed25519).unwrap();
/// let text = serde_json::to_string(&key);
/// ```
#[non_exhaustive]
pub enum SecretKey {
    /// A key of type `ed25519`.
    Ed25519(Ed25519SecretKey),
    /// A key of type `secp256k1`.
    Secp256k1(Secp256k1SecretKey),
    /// A key of type `bls12-381`.
    Bls12381(Bls12381SecretKey),
}

impl SecretKey {
    /// A new key from the system's randomness, uniform over all keys of its type.
    ///
    /// # Errors
    /// [`KeyError::RandomnessUnavailable`], [`KeyError::RandomnessBroken`];
    /// [`KeyError::SelfTestFailed`] if the machine miscalculates.
    pub fn generate(key_type: KeyType) -> Result<Self, KeyError> {
        Ok(match key_type {
            KeyType::Ed25519 => Self::Ed25519(Ed25519SecretKey::generate()?),
            KeyType::Secp256k1 => Self::Secp256k1(Secp256k1SecretKey::generate()?),
            KeyType::Bls12381 => Self::Bls12381(Bls12381SecretKey::generate()?),
        })
    }

    /// The key of 32 bytes: the seed for Ed25519, a number in big-endian order for secp256k1 and
    /// BLS12-381. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`]; [`KeyError::Zero`] and [`KeyError::OutOfRange`], not for Ed25519;
    /// [`KeyError::SelfTestFailed`] if the machine miscalculates.
    pub fn from_bytes(key_type: KeyType, bytes: &[u8]) -> Result<Self, KeyError> {
        Ok(match key_type {
            KeyType::Ed25519 => Self::Ed25519(Ed25519SecretKey::from_bytes(bytes)?),
            KeyType::Secp256k1 => Self::Secp256k1(Secp256k1SecretKey::from_bytes(bytes)?),
            KeyType::Bls12381 => Self::Bls12381(Bls12381SecretKey::from_bytes(bytes)?),
        })
    }

    /// The key of 64 hexadecimal digits of either case, with an optional `0x` in front and nothing
    /// else, no newline either. Decoded in constant time. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`KeyError::BadHex`], and those of [`SecretKey::from_bytes`].
    pub fn from_hex(key_type: KeyType, text: &[u8]) -> Result<Self, KeyError> {
        let bytes = hex::decode_secret(text)?;
        Ok(match key_type {
            KeyType::Ed25519 => Self::Ed25519(Ed25519SecretKey::from_secret(bytes)?),
            KeyType::Secp256k1 => Self::Secp256k1(Secp256k1SecretKey::from_secret(bytes)?),
            KeyType::Bls12381 => Self::Bls12381(Bls12381SecretKey::from_secret(bytes)?),
        })
    }

    /// The key in a plain PKCS#8 document in DER (RFC 5958; Ed25519 as in RFC 8410, secp256k1 as in
    /// RFC 5915). If the document holds a public key as well, it must be the right one. The caller
    /// wipes its own copy.
    ///
    /// # Errors
    /// [`KeyError::NoDocumentForm`] for BLS12-381; [`KeyError::WrongAlgorithm`] for a key of another
    /// type; [`KeyError::Encrypted`], [`KeyError::PublicKeyGiven`], [`KeyError::PublicKeyMismatch`],
    /// [`KeyError::TrailingBytes`], [`KeyError::MalformedDer`]; those of [`SecretKey::from_bytes`].
    pub fn from_pkcs8_der(key_type: KeyType, der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfo::from_der(key_type, der)?;
        let key = Self::from_bytes(key_type, info.secret)?;
        let public_key = key.public_key();
        for claimed in info.public_keys.into_iter().flatten() {
            if PublicKey::from_bytes(key_type, claimed).as_ref() != Ok(&public_key) {
                return Err(KeyError::PublicKeyMismatch);
            }
        }
        Ok(key)
    }

    /// The key in a plain PKCS#8 document as PEM text (`-----BEGIN PRIVATE KEY-----`, RFC 7468). Text
    /// in front and white space behind are ignored. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`KeyError::MalformedPem`], [`KeyError::WrongPemLabel`], and those of
    /// [`SecretKey::from_pkcs8_der`].
    pub fn from_pkcs8_pem(key_type: KeyType, pem: &[u8]) -> Result<Self, KeyError> {
        if key_type == KeyType::Bls12381 {
            return Err(KeyError::NoDocumentForm(key_type));
        }
        Self::from_pkcs8_der(key_type, decode_pem(pem, PRIVATE_KEY)?.expose())
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

    /// The public key. It was computed when the secret was made.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::Ed25519(*key.public_key()),
            Self::Secp256k1(key) => PublicKey::Secp256k1(*key.public_key()),
            Self::Bls12381(key) => PublicKey::Bls12381(*key.public_key()),
        }
    }

    /// Signs `message` as `scheme` says: a message of any length, except for
    /// [`SigningScheme::EcdsaDigest`] (a digest of 32 bytes, which is not hashed again) and
    /// [`SigningScheme::BlsPopProve`] (empty).
    ///
    /// # Errors
    /// [`SignError::WrongKeyType`], [`SignError::WrongMessageLength`];
    /// [`SignError::RandomnessUnavailable`] for BIP-340; [`SignError::SelfTestFailed`] if the machine
    /// miscalculates.
    pub fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, SignError> {
        use SigningScheme as S;
        Ok(match (self, scheme) {
            (Self::Ed25519(key), S::Ed25519) => Signature::Ed25519(key.sign(message)),
            (Self::Secp256k1(key), S::EcdsaSha256) => Signature::Ecdsa(key.sign_sha256(message)),
            (Self::Secp256k1(key), S::EcdsaDigest) => {
                let digest = message.try_into().map_err(|_| SignError::WrongMessageLength {
                    expected: 32,
                    got: message.len(),
                })?;
                Signature::Ecdsa(key.sign_digest(digest))
            }
            (Self::Secp256k1(key), S::Bip340) => Signature::Bip340(key.sign_bip340(message)?),
            (Self::Bls12381(key), S::BlsBasic) => {
                Signature::Bls12381(key.sign(BlsCiphersuite::Basic, message)?)
            }
            (Self::Bls12381(key), S::BlsAug) => {
                Signature::Bls12381(key.sign(BlsCiphersuite::Aug, message)?)
            }
            (Self::Bls12381(key), S::BlsPop) => {
                Signature::Bls12381(key.sign(BlsCiphersuite::Pop, message)?)
            }
            (Self::Bls12381(key), S::BlsPopProve) => {
                if !message.is_empty() {
                    return Err(SignError::WrongMessageLength { expected: 0, got: message.len() });
                }
                Signature::Bls12381(key.prove_possession()?)
            }
            _ => {
                return Err(SignError::WrongKeyType { scheme, key_type: self.key_type() });
            }
        })
    }

    /// Lends the secret bytes, for an [`Operator`](crate::Operator) or for a backend that stores a key
    /// it generated. What else a key is for, [`SecretKey::sign`] does.
    #[must_use]
    pub fn expose_secret(&self) -> SecretRef<'_> {
        let bytes = match self {
            Self::Ed25519(key) => key.seed(),
            Self::Secp256k1(key) => key.bytes(),
            Self::Bls12381(key) => key.bytes(),
        };
        SecretRef::new(self.key_type(), bytes)
    }
}

impl From<Ed25519SecretKey> for SecretKey {
    fn from(key: Ed25519SecretKey) -> Self {
        Self::Ed25519(key)
    }
}

impl From<Secp256k1SecretKey> for SecretKey {
    fn from(key: Secp256k1SecretKey) -> Self {
        Self::Secp256k1(key)
    }
}

impl From<Bls12381SecretKey> for SecretKey {
    fn from(key: Bls12381SecretKey) -> Self {
        Self::Bls12381(key)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_read_back_from_what_it_lends() {
        for key_type in KeyType::ALL {
            let key = SecretKey::generate(*key_type).unwrap();
            let lent = key.expose_secret();
            assert_eq!((key.key_type(), lent.key_type()), (*key_type, *key_type));
            let again = SecretKey::from_bytes(*key_type, lent.expose()).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            let text = format!("0x{}", hex::encode(lent.expose()));
            let again = SecretKey::from_hex(*key_type, text.as_bytes()).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            assert_ne!(SecretKey::generate(*key_type).unwrap().public_key(), key.public_key());
        }
    }

    #[test]
    fn a_key_signs_with_the_schemes_of_its_type_alone() {
        for key_type in KeyType::ALL {
            let key = SecretKey::from_bytes(*key_type, &[1; 32]).unwrap();
            for scheme in SigningScheme::ALL {
                let message: &[u8] = match scheme {
                    SigningScheme::BlsPopProve => &[],
                    _ => &[7; 32],
                };
                let result = key.sign(*scheme, message);
                if key_type.schemes().contains(scheme) {
                    assert_eq!(result.unwrap().to_bytes().len(), scheme.signature_len());
                } else {
                    let (scheme, key_type) = (*scheme, *key_type);
                    assert_eq!(result, Err(SignError::WrongKeyType { scheme, key_type }));
                }
            }
        }
    }

    #[test]
    fn a_scheme_that_fixes_the_length_of_messages_takes_no_other() {
        for scheme in SigningScheme::ALL {
            let key = SecretKey::from_bytes(scheme.key_type(), &[1; 32]).unwrap();
            for got in [0, 1, 31, 32, 33, 64] {
                let result = key.sign(*scheme, &vec![7; got]);
                match scheme.message_len() {
                    Some(expected) if expected != got => {
                        let refused = SignError::WrongMessageLength { expected, got };
                        assert_eq!(result, Err(refused), "{scheme}");
                    }
                    _ => assert!(result.is_ok(), "{scheme}"),
                }
            }
        }
        assert_eq!(SigningScheme::EcdsaDigest.message_len(), Some(32));
        assert_eq!(SigningScheme::BlsPopProve.message_len(), Some(0));
    }
}
