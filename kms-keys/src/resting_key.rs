//! Secret keys at rest: bytes that can be kept shielded, and signing from them.

use std::fmt;

use blst::blst_scalar;
use kms_secrets::{SecretBytes, on_wiped_stack, on_wiped_stack_of};

use crate::bls12_381::secret_key as bls;
use crate::secp256k1::read_scalar;
use crate::{
    BlsCiphersuite, KeyError, KeyType, PublicKey, SecretKey, SecretRef, SignError, Signature,
    SigningScheme, bip340, ecdsa, ed25519,
};

/// Bytes of a secret.
const SECRET: usize = 32;

/// Bytes of what signing with Ed25519 needs.
const EXPANDED: usize = 64;

/// Bytes of stack that are wiped after an Ed25519 signature, which uses a fraction of the others'.
const ED25519_STACK: usize = 14 * 1024;

impl SecretKey {
    /// The key as bytes to be kept shielded (at most 128): the secret, its public key and, for
    /// Ed25519, what signing needs of the secret, since to make a key of its seed again costs as
    /// much as a signature. [`RestingKey`] reads them; nothing else should.
    #[must_use]
    pub fn at_rest(&self) -> SecretBytes {
        let public = self.public_key().to_bytes();
        let mut bytes = SecretBytes::with_capacity(len_at_rest(self.key_type()));
        let (secret, rest) = bytes.buffer_mut().split_at_mut(SECRET);
        // Exposed because these are the bytes that are kept.
        secret.copy_from_slice(self.expose_secret().expose());
        let (public_part, rest) = rest.split_at_mut(public.len());
        public_part.copy_from_slice(&public);
        if let (Self::Ed25519(key), Some(expanded)) = (self, rest.first_chunk_mut()) {
            key.write_expanded(expanded);
        }
        bytes.set_len(len_at_rest(self.key_type()));
        bytes
    }
}

/// A secret key that is lent from the bytes that [`SecretKey::at_rest`] gave, for as long as one
/// signature takes. Signs as [`SecretKey`] does, bit for bit, at the same cost.
///
/// `Debug` shows the public key alone.
#[derive(Clone, Copy)]
pub struct RestingKey<'a> {
    secret: &'a [u8; SECRET],
    /// Empty for all but Ed25519.
    expanded: &'a [u8],
    public_key: &'a PublicKey,
}

impl<'a> RestingKey<'a> {
    /// The key whose [`SecretKey::at_rest`] gave `bytes`. That `public_key` is the one of then is
    /// checked: an Ed25519 signature with another one would give the secret away.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`], [`KeyError::PublicKeyMismatch`].
    pub fn new(public_key: &'a PublicKey, bytes: &'a [u8]) -> Result<Self, KeyError> {
        let key_type = public_key.key_type();
        let wrong_length =
            || KeyError::WrongLength { expected: len_at_rest(key_type), got: bytes.len() };
        if bytes.len() != len_at_rest(key_type) {
            return Err(wrong_length());
        }
        let (secret, rest) = bytes.split_first_chunk().ok_or_else(wrong_length)?;
        let (public, expanded) = rest.split_at(key_type.public_key_len());
        let same = match public_key {
            PublicKey::Ed25519(key) => key.to_bytes()[..] == *public,
            PublicKey::Secp256k1(key) => key.to_bytes()[..] == *public,
            PublicKey::Bls12381(key) => key.to_bytes()[..] == *public,
        };
        if !same {
            return Err(KeyError::PublicKeyMismatch);
        }
        Ok(Self { secret, expanded, public_key })
    }

    /// Signs `message` as `scheme` says, like [`SecretKey::sign`], on a stack that is wiped before a
    /// [`Signature`] is made of what comes out: those of one type don't fill it, and secrets must not lie in
    /// what is left over.
    ///
    /// # Errors
    /// Those of [`SecretKey::sign`]; [`SignError::SelfTestFailed`] if the secret is no longer a key.
    pub fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, SignError> {
        use SigningScheme as S;
        let damaged = SignError::SelfTestFailed;
        let key_type = self.public_key.key_type();
        if scheme.key_type() != key_type {
            return Err(SignError::WrongKeyType { scheme, key_type });
        }
        if let Some(expected) = scheme.message_len()
            && expected != message.len()
        {
            return Err(SignError::WrongMessageLength { expected, got: message.len() });
        }
        match self.public_key {
            PublicKey::Ed25519(public_key) => {
                let signature = on_wiped_stack_of::<ED25519_STACK, _>(|| {
                    ed25519::sign_expanded(self.expanded.first_chunk()?, public_key, message)
                });
                signature.map(Signature::Ed25519).ok_or(damaged)
            }
            PublicKey::Secp256k1(public_key) if scheme == S::Bip340 => {
                let signature = on_wiped_stack(|| {
                    let scalar = read_scalar(self.secret).ok_or(damaged)?;
                    bip340::sign(&scalar, public_key, message)
                });
                signature.map(Signature::Bip340)
            }
            PublicKey::Secp256k1(_) => {
                let signature = on_wiped_stack(|| {
                    let scalar = read_scalar(self.secret)?;
                    Some(match message.try_into() {
                        Ok(digest) if scheme == S::EcdsaDigest => {
                            ecdsa::sign_digest(&scalar, digest)
                        }
                        _ => ecdsa::sign_sha256(&scalar, message),
                    })
                });
                signature.map(Signature::Ecdsa).ok_or(damaged)
            }
            PublicKey::Bls12381(public_key) => {
                let signature = on_wiped_stack(|| {
                    // Wipes itself when dropped.
                    let mut scalar = blst_scalar::default();
                    bls::fill(&mut scalar, self.secret);
                    let ciphersuite = match scheme {
                        S::BlsBasic => BlsCiphersuite::Basic,
                        S::BlsAug => BlsCiphersuite::Aug,
                        S::BlsPop => BlsCiphersuite::Pop,
                        _ => return bls::prove_possession(&scalar, public_key),
                    };
                    bls::sign(&scalar, public_key, ciphersuite, message)
                });
                signature.map(Signature::Bls12381)
            }
        }
    }

    /// Lends the secret bytes to an [`Operator`](crate::Operator), like [`SecretKey::expose_secret`].
    #[must_use]
    pub fn expose_secret(&self) -> SecretRef<'a> {
        SecretRef::new(self.public_key.key_type(), self.secret)
    }
}

impl fmt::Debug for RestingKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestingKey").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

fn len_at_rest(key_type: KeyType) -> usize {
    let expanded = if key_type == KeyType::Ed25519 { EXPANDED } else { 0 };
    SECRET + key_type.public_key_len() + expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: [&[u8]; 4] = [&[], &[7; 31], &[8; 32], &[9; 300]];

    #[test]
    fn a_key_at_rest_signs_and_refuses_just_as_the_key_itself() {
        for key_type in KeyType::ALL {
            for _ in 0..20 {
                let key = SecretKey::generate(*key_type).unwrap();
                let (bytes, public_key) = (key.at_rest(), key.public_key());
                let resting = RestingKey::new(&public_key, bytes.expose()).unwrap();
                assert_eq!(resting.expose_secret().expose(), key.expose_secret().expose());
                for scheme in SigningScheme::ALL {
                    for message in MESSAGES {
                        let (ours, expected) =
                            (resting.sign(*scheme, message), key.sign(*scheme, message));
                        if let (SigningScheme::Bip340, Ok(signature)) = (scheme, &ours) {
                            // Randomised: see `bip340` for the same randomness.
                            assert_eq!(public_key.verify(*scheme, message, signature), Ok(()));
                        } else {
                            assert_eq!(ours, expected, "{scheme}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_public_key_must_be_the_one_of_then() {
        for key_type in KeyType::ALL {
            let [key, other] = [(); 2].map(|()| SecretKey::generate(*key_type).unwrap());
            let (bytes, public_key) = (key.at_rest(), other.public_key());
            let mixed = RestingKey::new(&public_key, bytes.expose());
            assert_eq!(mixed.unwrap_err(), KeyError::PublicKeyMismatch);
            let (bytes, expected) = (bytes.expose(), len_at_rest(*key_type));
            let short = RestingKey::new(&public_key, &bytes[1..]).unwrap_err();
            assert_eq!(short, KeyError::WrongLength { expected, got: expected - 1 });
            assert!(expected <= kms_secrets::SMALL_SECRET_BYTES);
        }
    }

    #[test]
    fn a_damaged_secret_does_not_sign() {
        for (key_type, scheme) in [
            (KeyType::Ed25519, SigningScheme::Ed25519),
            (KeyType::Secp256k1, SigningScheme::EcdsaSha256),
            (KeyType::Secp256k1, SigningScheme::Bip340),
            (KeyType::Bls12381, SigningScheme::BlsPop),
        ] {
            let key = SecretKey::generate(key_type).unwrap();
            let (mut bytes, public_key) = (key.at_rest(), key.public_key());
            let public = SECRET..SECRET + key_type.public_key_len();
            let buffer = bytes.buffer_mut();
            for (at, byte) in buffer.iter_mut().enumerate() {
                if !public.contains(&at) {
                    *byte = 0xff;
                }
            }
            let resting = RestingKey::new(&public_key, bytes.expose()).unwrap();
            assert_eq!(resting.sign(scheme, b"m"), Err(SignError::SelfTestFailed));
        }
    }

    #[test]
    fn debug_shows_the_public_key_alone() {
        let key = SecretKey::from_bytes(KeyType::Secp256k1, &[1; 32]).unwrap();
        let (bytes, public_key) = (key.at_rest(), key.public_key());
        let text = format!("{:?}", RestingKey::new(&public_key, bytes.expose()).unwrap());
        assert_eq!(text, format!("RestingKey {{ public_key: {public_key:?}, .. }}"));
    }
}
