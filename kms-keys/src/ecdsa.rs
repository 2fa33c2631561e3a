//! ECDSA on secp256k1: SEC 1, with the deterministic nonces of RFC 6979 and low s.

use std::fmt;

use ecdsa::hazmat::sign_prehashed_rfc6979;
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{RecoveryId, VerifyingKey};
use k256::elliptic_curve::ops::{Invert, MulByGeneratorVartime, Reduce};
use k256::elliptic_curve::point::AffineCoordinates;
use k256::{AffinePoint, FieldBytes, NonZeroScalar, ProjectivePoint, Scalar, Secp256k1};
use sha2::{Digest, Sha256};

use crate::{Secp256k1PublicKey, Secp256k1SecretKey, SignatureError, VerifyError, hex};

impl Secp256k1SecretKey {
    /// Signs `message`, of any length, by its SHA-256 digest. The same message gives the same
    /// signature (RFC 6979 with SHA-256).
    #[must_use]
    pub fn sign_sha256(&self, message: &[u8]) -> EcdsaSignature {
        sign_sha256(self.scalar(), message)
    }

    /// Signs a digest of 32 bytes as it is; nothing is hashed again. The same digest gives the same
    /// signature (RFC 6979 with SHA-256).
    ///
    /// `digest` must be the output of a cryptographic hash function: whoever may choose it freely may
    /// forge.
    #[must_use]
    pub fn sign_digest(&self, digest: &[u8; 32]) -> EcdsaSignature {
        sign_digest(self.scalar(), digest)
    }
}

pub(crate) fn sign_sha256(secret: &NonZeroScalar, message: &[u8]) -> EcdsaSignature {
    sign_digest(secret, &Sha256::digest(message).into())
}

/// Signs from the scalar alone: the library's own key would have to be made first, which costs as
/// much as half a signature.
pub(crate) fn sign_digest(secret: &NonZeroScalar, digest: &[u8; 32]) -> EcdsaSignature {
    let (signature, recovery_id) = sign_prehashed_rfc6979::<Secp256k1, Sha256>(secret, digest, &[]);
    EcdsaSignature { signature, recovery_id: Some(recovery_id) }
}

impl Secp256k1PublicKey {
    /// Checks a signature over the SHA-256 digest of `message`. The recovery id plays no part.
    ///
    /// # Errors
    /// [`VerifyError`], if the signature is not good.
    pub fn verify_sha256(
        &self,
        message: &[u8],
        signature: &EcdsaSignature,
    ) -> Result<(), VerifyError> {
        self.verify_digest(&Sha256::digest(message).into(), signature)
    }

    /// Checks a signature over a digest of 32 bytes. The recovery id plays no part.
    ///
    /// # Errors
    /// [`VerifyError`], if the signature is not good.
    pub fn verify_digest(
        &self,
        digest: &[u8; 32],
        signature: &EcdsaSignature,
    ) -> Result<(), VerifyError> {
        self.point().verify_prehash(digest, &signature.signature).map_err(|_| VerifyError)
    }

    /// What is missing of a signature over a digest that was made elsewhere with this key: `r` ‖ `s`, 64
    /// bytes, with an `s` in either half. It is brought into the lower half, and the recovery id is found.
    /// To find it is to check the signature: it is what is reduced away of the point that a check
    /// computes (SEC 1, section 4.1.4).
    ///
    /// # Errors
    /// [`VerifyError`], if the bytes are no signature over `digest` by this key.
    pub fn complete_signature(
        &self,
        digest: &[u8; 32],
        bytes: &[u8],
    ) -> Result<EcdsaSignature, VerifyError> {
        let signature = k256::ecdsa::Signature::from_slice(bytes).map_err(|_| VerifyError)?;
        let signature = signature.normalize_s();
        let (r, s) = signature.split_scalars();
        let s_inverse = Invert::invert_vartime(&s);
        let u1 = <Scalar as Reduce<FieldBytes>>::reduce(&(*digest).into()) * *s_inverse;
        let u2 = *r * *s_inverse;
        let key = ProjectivePoint::from(self.point().as_affine());
        let nonce_point = ProjectivePoint::mul_by_generator_and_mul_add_vartime(&u1, &u2, &key);
        if nonce_point == ProjectivePoint::IDENTITY {
            return Err(VerifyError);
        }
        let nonce_point: AffinePoint = nonce_point.to_affine();
        let x = nonce_point.x();
        if <Scalar as Reduce<FieldBytes>>::reduce(&x) != *r {
            return Err(VerifyError);
        }
        let reduced = x != r.to_bytes();
        let recovery_id = RecoveryId::new(nonce_point.y_is_odd().into(), reduced);
        Ok(EcdsaSignature { signature, recovery_id: Some(recovery_id) })
    }
}

/// An ECDSA signature, 64 bytes: `r` ‖ `s` in big-endian order, neither zero, `s` in the lower half of
/// its range. One that was made here also knows its recovery id.
///
/// Two are equal if both the 64 bytes and the recovery ids are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EcdsaSignature {
    signature: k256::ecdsa::Signature,
    recovery_id: Option<RecoveryId>,
}

impl EcdsaSignature {
    /// Reads 64 bytes. The signature has no recovery id.
    ///
    /// # Errors
    /// [`SignatureError::WrongLength`]; [`SignatureError::Zero`] or [`SignatureError::OutOfRange`] for
    /// an `r` or `s` that is not between 1 and the group order less 1; [`SignatureError::HighS`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let array: &[u8; 64] = bytes
            .try_into()
            .map_err(|_| SignatureError::WrongLength { expected: 64, got: bytes.len() })?;
        if array.chunks(32).any(|number| number == [0; 32]) {
            return Err(SignatureError::Zero);
        }
        let signature =
            k256::ecdsa::Signature::from_slice(array).map_err(|_| SignatureError::OutOfRange)?;
        if signature.normalize_s() != signature {
            return Err(SignatureError::HighS);
        }
        Ok(Self { signature, recovery_id: None })
    }

    /// The same signature with a recovery id, which is not checked against anything.
    ///
    /// # Errors
    /// [`SignatureError::BadRecoveryId`] unless it is a number from 0 to 3.
    pub fn with_recovery_id(self, recovery_id: u8) -> Result<Self, SignatureError> {
        let recovery_id =
            RecoveryId::from_byte(recovery_id).ok_or(SignatureError::BadRecoveryId)?;
        Ok(Self { recovery_id: Some(recovery_id), ..self })
    }

    /// `r` ‖ `s`, 64 bytes, without the recovery id.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        self.signature.to_bytes().into()
    }

    /// Which of the public keys that fit is the signer's, from 0 to 3, if it is known: bit 0 is the
    /// parity of the nonce point's y, bit 1 tells whether its x was reduced.
    #[must_use]
    pub fn recovery_id(&self) -> Option<u8> {
        self.recovery_id.map(RecoveryId::to_byte)
    }

    /// The public key that signed `digest` (SEC 1, section 4.1.6).
    ///
    /// # Errors
    /// [`VerifyError`], if the recovery id is unknown or no key fits.
    pub fn recover(&self, digest: &[u8; 32]) -> Result<Secp256k1PublicKey, VerifyError> {
        let recovery_id = self.recovery_id.ok_or(VerifyError)?;
        VerifyingKey::recover_from_prehash(digest, &self.signature, recovery_id)
            .map(Secp256k1PublicKey::from_point)
            .map_err(|_| VerifyError)
    }
}

impl fmt::Debug for EcdsaSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcdsaSignature({}", hex::encode(&self.to_bytes()))?;
        if let Some(recovery_id) = self.recovery_id() {
            write!(f, ", recovery id {recovery_id}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> (Secp256k1SecretKey, EcdsaSignature) {
        let key = Secp256k1SecretKey::from_bytes(&[9; 32]).unwrap();
        let signature = key.sign_sha256(b"message");
        (key, signature)
    }

    #[test]
    fn a_message_is_hashed_once_and_a_digest_not_at_all() {
        let (key, signature) = signed();
        let digest = Sha256::digest(b"message").into();
        assert_eq!(key.sign_digest(&digest), signature);
        assert_eq!(key.public_key().verify_digest(&digest, &signature), Ok(()));
        assert_eq!(key.public_key().verify_sha256(b"message", &signature), Ok(()));
    }

    #[test]
    fn signatures_are_those_of_the_library_s_own_key() {
        for secret in [[1; 32], [9; 32], [0x7f; 32]] {
            let ours = Secp256k1SecretKey::from_bytes(&secret).unwrap();
            let theirs = k256::ecdsa::SigningKey::from_slice(&secret).unwrap();
            for digest in [[0; 32], [7; 32], [0xff; 32]] {
                let (signature, recovery_id) = theirs.sign_prehash_recoverable(&digest);
                let expected = EcdsaSignature { signature, recovery_id: Some(recovery_id) };
                assert_eq!(ours.sign_digest(&digest), expected);
            }
        }
    }

    #[test]
    fn the_recovery_id_leads_to_the_signer_alone() {
        let (key, signature) = signed();
        let digest = Sha256::digest(b"message").into();
        assert_eq!(signature.recover(&digest), Ok(*key.public_key()));
        let other = signature.with_recovery_id(signature.recovery_id().unwrap() ^ 1).unwrap();
        assert_ne!(other.recover(&digest), Ok(*key.public_key()));
        let without = EcdsaSignature::from_bytes(&signature.to_bytes()).unwrap();
        assert_eq!(without.recover(&digest), Err(VerifyError));
        assert_eq!(signature.with_recovery_id(4), Err(SignatureError::BadRecoveryId));
    }

    #[test]
    fn a_signature_from_elsewhere_is_completed_with_either_s() {
        for message in 0..16_u8 {
            let (key, _) = signed();
            let digest = Sha256::digest([message]).into();
            let expected = key.sign_digest(&digest);
            let (r, s) = expected.signature.split_scalars();
            let twin = k256::ecdsa::Signature::from_scalars(r, -s).unwrap().to_bytes();
            for bytes in [&expected.to_bytes()[..], &twin] {
                assert_eq!(key.public_key().complete_signature(&digest, bytes), Ok(expected));
                let other = Secp256k1SecretKey::from_bytes(&[8; 32]).unwrap();
                assert!(other.public_key().complete_signature(&digest, bytes).is_err());
                assert!(key.public_key().complete_signature(&[message; 32], bytes).is_err());
                assert!(key.public_key().complete_signature(&digest, &bytes[1..]).is_err());
            }
        }
    }

    /// Nobody meets such a signature by chance: its nonce point has an x between the group order and the
    /// field's. It is built backwards, from the point to the key.
    #[test]
    fn a_signature_whose_x_was_reduced_is_completed_too() {
        let mut r = [0; 32];
        let found = (1..=u8::MAX).filter_map(|low| {
            r[31] = low;
            let bytes = [r, [7; 32]].concat();
            let signature = EcdsaSignature::from_bytes(&bytes).unwrap();
            [2, 3].map(|id| signature.with_recovery_id(id).unwrap()).into_iter().find_map(
                |signed| signed.recover(&[9; 32]).ok().map(|key| (signed, key, bytes.clone())),
            )
        });
        let found: Vec<_> = found.collect();
        assert!(found.len() > 20);
        for (signature, key, bytes) in found {
            assert_eq!(key.complete_signature(&[9; 32], &bytes), Ok(signature));
            assert_eq!(key.verify_digest(&[9; 32], &signature), Ok(()));
            assert_eq!(key.complete_signature(&[8; 32], &bytes), Err(VerifyError));
        }
    }

    #[test]
    fn every_signature_has_a_low_s() {
        let (key, _) = signed();
        for message in 0..32_u8 {
            let bytes = key.sign_sha256(&[message]).to_bytes();
            assert!(EcdsaSignature::from_bytes(&bytes).is_ok());
            assert!(bytes[32] < 0x80);
        }
    }

    #[test]
    fn the_malleable_twin_is_refused() {
        let (_, signature) = signed();
        let (r, s) = signature.signature.split_scalars();
        let twin = k256::ecdsa::Signature::from_scalars(r, -s).unwrap();
        assert_eq!(EcdsaSignature::from_bytes(&twin.to_bytes()), Err(SignatureError::HighS));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let (_, signature) = signed();
        let good = signature.to_bytes();
        for (half, byte, expected) in [
            (0..32, 0, SignatureError::Zero),
            (32..64, 0, SignatureError::Zero),
            (0..32, 0xff, SignatureError::OutOfRange),
            (32..64, 0xff, SignatureError::OutOfRange),
        ] {
            let mut bytes = good;
            bytes[half].fill(byte);
            assert_eq!(EcdsaSignature::from_bytes(&bytes), Err(expected));
        }
    }
}
