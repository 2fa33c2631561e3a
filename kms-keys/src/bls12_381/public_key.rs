//! BLS12-381 public keys.

use std::fmt;
use std::hash::{Hash, Hasher};

use blst::{BLST_ERROR, min_pk};

use super::{Bls12381Signature, BlsCiphersuite, POSSESSION_TAG};
use crate::{AggregateError, KeyError, VerifyError, hex};

/// A BLS12-381 public key: a point of G1 in the subgroup of prime order that is not the identity.
/// Written as 48 bytes, compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bls12381PublicKey(min_pk::PublicKey);

impl Bls12381PublicKey {
    /// Reads 48 bytes, the compressed form (the draft's `KeyValidate`).
    ///
    /// # Errors
    /// [`KeyError::WrongLength`]; [`KeyError::NotAPoint`] for bytes that encode none;
    /// [`KeyError::Identity`]; [`KeyError::NotInSubgroup`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != 48 {
            return Err(KeyError::WrongLength { expected: 48, got: bytes.len() });
        }
        let key = min_pk::PublicKey::uncompress(bytes).map_err(refusal)?;
        key.validate().map_err(refusal)?;
        Ok(Self(key))
    }

    pub(super) fn of(secret: &min_pk::SecretKey) -> Result<Self, KeyError> {
        let key = secret.sk_to_pk();
        key.validate().map_err(|_| KeyError::SelfTestFailed)?;
        Ok(Self(key))
    }

    /// The key as 48 bytes, compressed.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 48] {
        self.0.compress()
    }

    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// [`VerifyError`], if the signature is not good.
    pub fn verify(
        &self,
        ciphersuite: BlsCiphersuite,
        message: &[u8],
        signature: &Bls12381Signature,
    ) -> Result<(), VerifyError> {
        match ciphersuite {
            BlsCiphersuite::Aug => {
                self.check(message, ciphersuite.tag(), &self.to_bytes(), signature)
            }
            BlsCiphersuite::Basic | BlsCiphersuite::Pop => {
                self.check(message, ciphersuite.tag(), &[], signature)
            }
        }
    }

    /// Checks a proof of possession: that whoever published this key knows its secret.
    ///
    /// # Errors
    /// [`VerifyError`], if the proof is not good.
    pub fn verify_possession(&self, proof: &Bls12381Signature) -> Result<(), VerifyError> {
        self.check(&self.to_bytes(), POSSESSION_TAG, &[], proof)
    }

    /// The sum of `keys`, which checks what all of them signed together.
    ///
    /// Sound only for keys whose proof of possession was checked: else one of them can be chosen so
    /// that it cancels the others.
    ///
    /// # Errors
    /// [`AggregateError::Empty`], [`AggregateError::Identity`].
    pub fn aggregate(keys: &[Self]) -> Result<Self, AggregateError> {
        let points: Vec<_> = keys.iter().map(|key| &key.0).collect();
        let sum = min_pk::AggregatePublicKey::aggregate(&points, false)
            .map_err(|_| AggregateError::Empty)?
            .to_public_key();
        // A sum of points of the subgroup is in the subgroup: only the identity can be found here.
        sum.validate().map_err(|_| AggregateError::Identity)?;
        Ok(Self(sum))
    }

    pub(super) fn point(&self) -> &min_pk::PublicKey {
        &self.0
    }

    fn check(
        &self,
        message: &[u8],
        tag: &[u8],
        prefix: &[u8],
        signature: &Bls12381Signature,
    ) -> Result<(), VerifyError> {
        match signature.point().verify(false, message, tag, prefix, &self.0, false) {
            BLST_ERROR::BLST_SUCCESS => Ok(()),
            _ => Err(VerifyError),
        }
    }
}

fn refusal(error: BLST_ERROR) -> KeyError {
    match error {
        BLST_ERROR::BLST_PK_IS_INFINITY => KeyError::Identity,
        BLST_ERROR::BLST_POINT_NOT_IN_GROUP => KeyError::NotInSubgroup,
        _ => KeyError::NotAPoint,
    }
}

impl Hash for Bls12381PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bytes().hash(state);
    }
}

impl fmt::Debug for Bls12381PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bls12381PublicKey({})", hex::encode(&self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bls12381SecretKey;

    #[test]
    fn the_identity_is_refused() {
        let mut bytes = [0; 48];
        bytes[0] = 0xc0;
        assert_eq!(Bls12381PublicKey::from_bytes(&bytes), Err(KeyError::Identity));
    }

    #[test]
    fn a_point_outside_the_subgroup_is_refused() {
        // Most points of the curve are outside; the first x from 1 on that is on the curve is.
        let refusals = (1..20).map(|x| {
            let mut bytes = [0; 48];
            (bytes[0], bytes[47]) = (0x80, x);
            Bls12381PublicKey::from_bytes(&bytes).unwrap_err()
        });
        let (outside, off): (Vec<_>, Vec<_>) =
            refusals.partition(|error| *error == KeyError::NotInSubgroup);
        assert!(!outside.is_empty());
        assert!(!off.is_empty() && off.iter().all(|error| *error == KeyError::NotAPoint));
    }

    #[test]
    fn other_encodings_are_refused() {
        let key = *Bls12381SecretKey::generate().unwrap().public_key();
        let long = KeyError::WrongLength { expected: 48, got: 96 };
        assert_eq!(Bls12381PublicKey::from_bytes(&key.point().serialize()), Err(long));
        let mut uncompressed_flag = key.to_bytes();
        uncompressed_flag[0] &= 0x7f;
        let refused = Bls12381PublicKey::from_bytes(&uncompressed_flag);
        assert_eq!(refused, Err(KeyError::NotAPoint));
        let mut large = [0xff; 48];
        large[0] = 0x9f;
        assert_eq!(Bls12381PublicKey::from_bytes(&large), Err(KeyError::NotAPoint));
    }

    #[test]
    fn keys_that_cancel_each_other_have_no_sum() {
        let key = *Bls12381SecretKey::generate().unwrap().public_key();
        let mut negated = key.to_bytes();
        negated[0] ^= 0x20; // the sign of y
        let negated = Bls12381PublicKey::from_bytes(&negated).unwrap();
        assert_eq!(Bls12381PublicKey::aggregate(&[key, negated]), Err(AggregateError::Identity));
        assert_eq!(Bls12381PublicKey::aggregate(&[]), Err(AggregateError::Empty));
        assert_eq!(Bls12381PublicKey::aggregate(&[key]), Ok(key));
    }
}
