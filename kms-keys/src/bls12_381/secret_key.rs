//! BLS12-381 secret keys.

use std::fmt;

use blst::{blst_scalar, min_pk};
use kms_secrets::{SecretArray, on_wiped_stack};
use subtle::ConstantTimeEq;

use super::{Bls12381PublicKey, Bls12381Signature, BlsCiphersuite, POSSESSION_TAG};
use crate::{KeyError, SignError, random};

/// A BLS12-381 secret key: a number from 1 to the group order less 1, as 32 bytes in big-endian order.
///
/// No `Clone`, no `Display`, no serialisation. `Debug` shows the public key alone.
pub struct Bls12381SecretKey {
    bytes: SecretArray<32>,
    /// The library's form, which is lent to it where it lies: the library's own key type is built on
    /// the stack and moved. Wipes itself when dropped.
    scalar: Box<blst_scalar>,
    public_key: Bls12381PublicKey,
}

impl Bls12381SecretKey {
    /// A new key from the system's randomness, uniform over all keys.
    ///
    /// # Errors
    /// [`KeyError::RandomnessUnavailable`], [`KeyError::RandomnessBroken`].
    pub fn generate() -> Result<Self, KeyError> {
        // The group order has 255 bits.
        random::draw(0x7f, |bytes| getrandom::fill(bytes), Self::from_secret)
    }

    /// The key of 32 bytes in big-endian order. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`], [`KeyError::Zero`]; [`KeyError::OutOfRange`] from the group order on.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let got = bytes.len();
        let bytes =
            SecretArray::from_slice(bytes).ok_or(KeyError::WrongLength { expected: 32, got })?;
        Self::from_secret(bytes)
    }

    pub(crate) fn from_secret(bytes: SecretArray<32>) -> Result<Self, KeyError> {
        on_wiped_stack(|| Self::compute(bytes))
    }

    /// What touches the secret is on a wiped stack of its own, so that nothing of it can be in the unused
    /// bytes of what is returned.
    fn compute(bytes: SecretArray<32>) -> Result<Self, KeyError> {
        if bool::from(bytes.expose().ct_eq(&[0; 32])) {
            return Err(KeyError::Zero);
        }
        let mut scalar = Box::new(blst_scalar::default());
        fill(&mut scalar, bytes.expose());
        let public_key = on_wiped_stack(|| {
            let lent =
                <&min_pk::SecretKey>::try_from(&*scalar).map_err(|_| KeyError::OutOfRange)?;
            Bls12381PublicKey::of(lent)
        })?;
        Ok(Self { bytes, scalar, public_key })
    }

    /// The public key, computed when the secret was made.
    #[must_use]
    pub fn public_key(&self) -> &Bls12381PublicKey {
        &self.public_key
    }

    /// Signs `message`, of any length; hashing it to the curve is part of the scheme. The same message
    /// gives the same signature.
    ///
    /// # Errors
    /// [`SignError::SelfTestFailed`], if the secret in memory is no longer a key.
    pub fn sign(
        &self,
        ciphersuite: BlsCiphersuite,
        message: &[u8],
    ) -> Result<Bls12381Signature, SignError> {
        sign(&self.scalar, &self.public_key, ciphersuite, message)
    }

    /// The proof that whoever published the public key knows its secret: a signature over the public
    /// key under a tag of its own.
    ///
    /// # Errors
    /// [`SignError::SelfTestFailed`], if the secret in memory is no longer a key.
    pub fn prove_possession(&self) -> Result<Bls12381Signature, SignError> {
        prove_possession(&self.scalar, &self.public_key)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        self.bytes.expose()
    }
}

pub(crate) fn sign(
    scalar: &blst_scalar,
    public_key: &Bls12381PublicKey,
    ciphersuite: BlsCiphersuite,
    message: &[u8],
) -> Result<Bls12381Signature, SignError> {
    let (key, tag) = (lend(scalar)?, ciphersuite.tag());
    Ok(Bls12381Signature::of(match ciphersuite {
        BlsCiphersuite::Aug => key.sign(message, tag, &public_key.to_bytes()),
        BlsCiphersuite::Basic | BlsCiphersuite::Pop => key.sign(message, tag, &[]),
    }))
}

pub(crate) fn prove_possession(
    scalar: &blst_scalar,
    public_key: &Bls12381PublicKey,
) -> Result<Bls12381Signature, SignError> {
    Ok(Bls12381Signature::of(lend(scalar)?.sign(&public_key.to_bytes(), POSSESSION_TAG, &[])))
}

/// Writes the number, which the library wants in little-endian order, to where it will lie.
pub(crate) fn fill(scalar: &mut blst_scalar, big_endian: &[u8; 32]) {
    for (little, big) in scalar.b.iter_mut().zip(big_endian.iter().rev()) {
        *little = *big;
    }
}

/// The library's key for a number that may have been damaged in memory.
fn lend(scalar: &blst_scalar) -> Result<&min_pk::SecretKey, SignError> {
    scalar.try_into().map_err(|_| SignError::SelfTestFailed)
}

impl fmt::Debug for Bls12381SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bls12381SecretKey")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// The order of the group, from the draft.
    const ORDER: &[u8] = b"73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";

    #[test]
    fn secrets_from_one_to_the_order_less_one_are_keys() {
        let mut bytes = hex::decode(ORDER).unwrap();
        assert_eq!(Bls12381SecretKey::from_bytes(&bytes).unwrap_err(), KeyError::OutOfRange);
        bytes[31] -= 1;
        assert!(Bls12381SecretKey::from_bytes(&bytes).is_ok());
        assert_eq!(Bls12381SecretKey::from_bytes(&[0; 32]).unwrap_err(), KeyError::Zero);
        assert_eq!(Bls12381SecretKey::from_bytes(&[0xff; 32]).unwrap_err(), KeyError::OutOfRange);
        let short = KeyError::WrongLength { expected: 32, got: 31 };
        assert_eq!(Bls12381SecretKey::from_bytes(&bytes[1..]).unwrap_err(), short);
    }

    #[test]
    fn one_is_the_key_of_the_generator() {
        let mut one = [0; 32];
        one[31] = 1;
        let key = Bls12381SecretKey::from_bytes(&one).unwrap();
        assert!(hex::encode(&key.public_key().to_bytes()).starts_with("97f1d3a73197d794"));
    }

    #[test]
    fn a_secret_that_was_damaged_in_memory_does_not_sign() {
        let mut key = Bls12381SecretKey::generate().unwrap();
        key.scalar.b = [0; 32];
        assert_eq!(key.sign(BlsCiphersuite::Pop, b"m"), Err(SignError::SelfTestFailed));
        assert_eq!(key.prove_possession(), Err(SignError::SelfTestFailed));
    }
}
