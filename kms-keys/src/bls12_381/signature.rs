//! BLS12-381 signatures, single and aggregate.

use std::collections::HashSet;
use std::fmt;

use blst::{BLST_ERROR, min_pk};

use super::{Bls12381PublicKey, BlsCiphersuite};
use crate::{AggregateError, SignatureError, VerifyError, hex};

/// A BLS12-381 signature, an aggregate of several, or a proof of possession: a point of G2 in the
/// subgroup of prime order that is not the identity. Written as 96 bytes, compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bls12381Signature(min_pk::Signature);

impl Bls12381Signature {
    /// Reads 96 bytes, the compressed form.
    ///
    /// # Errors
    /// [`SignatureError::WrongLength`]; [`SignatureError::NotAPoint`] for bytes that encode none;
    /// [`SignatureError::Identity`]; [`SignatureError::NotInSubgroup`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.len() != 96 {
            return Err(SignatureError::WrongLength { expected: 96, got: bytes.len() });
        }
        let signature = min_pk::Signature::uncompress(bytes).map_err(refusal)?;
        signature.validate(true).map_err(refusal)?;
        Ok(Self(signature))
    }

    pub(super) fn of(signature: min_pk::Signature) -> Self {
        Self(signature)
    }

    /// The signature as 96 bytes, compressed.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 96] {
        self.0.compress()
    }

    /// The sum of `signatures`. One signature is its own aggregate.
    ///
    /// # Errors
    /// [`AggregateError::Empty`], [`AggregateError::Identity`].
    pub fn aggregate(signatures: &[Self]) -> Result<Self, AggregateError> {
        let points: Vec<_> = signatures.iter().map(|signature| &signature.0).collect();
        let sum = min_pk::AggregateSignature::aggregate(&points, false)
            .map_err(|_| AggregateError::Empty)?
            .to_signature();
        // A sum of points of the subgroup is in the subgroup: only the identity can be found here.
        sum.validate(true).map_err(|_| AggregateError::Identity)?;
        Ok(Self(sum))
    }

    /// Checks an aggregate of one signature per pair, each of the pair's key over the pair's message.
    ///
    /// With [`BlsCiphersuite::Basic`] messages that are not all different are refused. With
    /// [`BlsCiphersuite::Pop`] the answer is sound only for keys whose proof of possession was checked.
    ///
    /// # Errors
    /// [`VerifyError`], if the aggregate is not good, also for no pairs at all.
    pub fn aggregate_verify(
        &self,
        ciphersuite: BlsCiphersuite,
        pairs: &[(Bls12381PublicKey, &[u8])],
    ) -> Result<(), VerifyError> {
        if ciphersuite == BlsCiphersuite::Basic {
            let mut seen = HashSet::with_capacity(pairs.len());
            if !pairs.iter().all(|(_, message)| seen.insert(message)) {
                return Err(VerifyError);
            }
        }
        let augmented: Vec<Vec<u8>> = match ciphersuite {
            BlsCiphersuite::Aug => {
                pairs.iter().map(|(key, message)| [&key.to_bytes(), *message].concat()).collect()
            }
            BlsCiphersuite::Basic | BlsCiphersuite::Pop => Vec::new(),
        };
        let messages: Vec<&[u8]> = if ciphersuite == BlsCiphersuite::Aug {
            augmented.iter().map(Vec::as_slice).collect()
        } else {
            pairs.iter().map(|(_, message)| *message).collect()
        };
        let keys: Vec<_> = pairs.iter().map(|(key, _)| key.point()).collect();
        outcome(self.0.aggregate_verify(false, &messages, ciphersuite.tag(), &keys, false))
    }

    /// Checks an aggregate of signatures of all `keys` over one `message`, with
    /// [`BlsCiphersuite::Pop`].
    ///
    /// Call this only with keys whose proof of possession was checked
    /// ([`Bls12381PublicKey::verify_possession`]): with any other key in the list an attacker can make
    /// an aggregate that seems to be signed by all of them.
    ///
    /// # Errors
    /// [`VerifyError`], if the aggregate is not good, also for no keys at all or keys that cancel each
    /// other.
    pub fn fast_aggregate_verify(
        &self,
        keys: &[Bls12381PublicKey],
        message: &[u8],
    ) -> Result<(), VerifyError> {
        Bls12381PublicKey::aggregate(keys).map_err(|_| VerifyError)?.verify(
            BlsCiphersuite::Pop,
            message,
            self,
        )
    }

    pub(super) fn point(&self) -> &min_pk::Signature {
        &self.0
    }
}

fn outcome(result: BLST_ERROR) -> Result<(), VerifyError> {
    if result == BLST_ERROR::BLST_SUCCESS { Ok(()) } else { Err(VerifyError) }
}

fn refusal(error: BLST_ERROR) -> SignatureError {
    match error {
        BLST_ERROR::BLST_PK_IS_INFINITY => SignatureError::Identity,
        BLST_ERROR::BLST_POINT_NOT_IN_GROUP => SignatureError::NotInSubgroup,
        _ => SignatureError::NotAPoint,
    }
}

impl fmt::Debug for Bls12381Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bls12381Signature({})", hex::encode(&self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bls12381SecretKey;

    const SUITES: [BlsCiphersuite; 3] =
        [BlsCiphersuite::Basic, BlsCiphersuite::Aug, BlsCiphersuite::Pop];

    fn keys() -> [Bls12381SecretKey; 2] {
        [1, 2].map(|byte| Bls12381SecretKey::from_bytes(&[byte; 32]).unwrap())
    }

    fn aggregate(suite: BlsCiphersuite, messages: [&[u8]; 2]) -> Bls12381Signature {
        let [a, b] = keys();
        Bls12381Signature::aggregate(&[
            a.sign(suite, messages[0]).unwrap(),
            b.sign(suite, messages[1]).unwrap(),
        ])
        .unwrap()
    }

    #[test]
    fn aggregates_over_different_messages_verify_in_every_suite() {
        let [a, b] = keys().map(|key| *key.public_key());
        for suite in SUITES {
            let signature = aggregate(suite, [b"one", b"two"]);
            let verify = |pairs: &[(_, &[u8])]| signature.aggregate_verify(suite, pairs);
            assert_eq!(verify(&[(a, b"one"), (b, b"two")]), Ok(()));
            assert_eq!(verify(&[(b, b"two"), (a, b"one")]), Ok(()));
            assert_eq!(verify(&[(a, b"two"), (b, b"one")]), Err(VerifyError));
            assert_eq!(verify(&[(a, b"one")]), Err(VerifyError));
            assert_eq!(verify(&[]), Err(VerifyError));
        }
    }

    #[test]
    fn equal_messages_are_refused_by_the_basic_suite_alone() {
        let [a, b] = keys().map(|key| *key.public_key());
        for suite in SUITES {
            let signature = aggregate(suite, [b"same", b"same"]);
            let verified = signature.aggregate_verify(suite, &[(a, b"same"), (b, b"same")]);
            assert_eq!(verified.is_ok(), suite != BlsCiphersuite::Basic, "{suite:?}");
        }
    }

    #[test]
    fn one_message_of_many_keys_verifies_fast() {
        let [a, b] = keys().map(|key| *key.public_key());
        let signature = aggregate(BlsCiphersuite::Pop, [b"same", b"same"]);
        assert_eq!(signature.fast_aggregate_verify(&[a, b], b"same"), Ok(()));
        assert_eq!(signature.fast_aggregate_verify(&[a, b], b"other"), Err(VerifyError));
        assert_eq!(signature.fast_aggregate_verify(&[a], b"same"), Err(VerifyError));
        assert_eq!(signature.fast_aggregate_verify(&[], b"same"), Err(VerifyError));
    }

    #[test]
    fn a_proof_of_possession_is_no_signature_and_proves_one_key() {
        let [a, b] = keys();
        let proof = a.prove_possession().unwrap();
        assert_eq!(a.public_key().verify_possession(&proof), Ok(()));
        assert_eq!(b.public_key().verify_possession(&proof), Err(VerifyError));
        let message = a.public_key().to_bytes();
        for suite in SUITES {
            assert_eq!(a.public_key().verify(suite, &message, &proof), Err(VerifyError));
        }
        let signature = a.sign(BlsCiphersuite::Pop, &message).unwrap();
        assert_eq!(a.public_key().verify_possession(&signature), Err(VerifyError));
    }

    #[test]
    fn signatures_that_cancel_each_other_have_no_sum() {
        let signature = keys()[0].sign(BlsCiphersuite::Pop, b"m").unwrap();
        let mut negated = signature.to_bytes();
        negated[0] ^= 0x20; // the sign of y
        let negated = Bls12381Signature::from_bytes(&negated).unwrap();
        let sum = Bls12381Signature::aggregate(&[signature, negated]);
        assert_eq!(sum, Err(AggregateError::Identity));
        assert_eq!(Bls12381Signature::aggregate(&[]), Err(AggregateError::Empty));
        assert_eq!(Bls12381Signature::aggregate(&[signature]), Ok(signature));
    }

    #[test]
    fn bad_points_are_refused() {
        let mut bytes = [0; 96];
        bytes[0] = 0xc0;
        assert_eq!(Bls12381Signature::from_bytes(&bytes), Err(SignatureError::Identity));
        let refusals = (1..20).map(|x| {
            let mut bytes = [0; 96];
            (bytes[0], bytes[95]) = (0x80, x);
            Bls12381Signature::from_bytes(&bytes).unwrap_err()
        });
        let (outside, off): (Vec<_>, Vec<_>) =
            refusals.partition(|error| *error == SignatureError::NotInSubgroup);
        assert!(!outside.is_empty());
        assert!(!off.is_empty() && off.iter().all(|error| *error == SignatureError::NotAPoint));
        let long = SignatureError::WrongLength { expected: 96, got: 192 };
        assert_eq!(Bls12381Signature::from_bytes(&[0; 192]), Err(long));
    }
}
