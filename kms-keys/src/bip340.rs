//! BIP-340: Schnorr signatures on secp256k1.

use std::fmt;

use k256::elliptic_curve::ops::Reduce;
use k256::elliptic_curve::point::AffineCoordinates;
use k256::schnorr;
use k256::{FieldBytes, NonZeroScalar, ProjectivePoint, Scalar};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::{Secp256k1PublicKey, Secp256k1SecretKey, SignError, SignatureError, VerifyError, hex};

impl Secp256k1SecretKey {
    /// Signs `message`, of any length and not hashed before, as in BIP-340 with 32 bytes of auxiliary
    /// randomness from the system. Each signature is checked before it is handed out, as BIP-340
    /// advises.
    ///
    /// A message that an attacker may choose should be hashed with a tag of the application's own, or
    /// begin with one, so that what is signed for one purpose means nothing for another.
    ///
    /// # Errors
    /// [`SignError::RandomnessUnavailable`]; [`SignError::SelfTestFailed`] if the machine miscalculates.
    pub fn sign_bip340(&self, message: &[u8]) -> Result<Bip340Signature, SignError> {
        sign(self.scalar(), self.public_key(), message)
    }

    /// Like [`Self::sign_bip340`] with auxiliary randomness that the caller brings, so that the same
    /// input gives the same signature: for published vectors. Zeros are safe too; fresh randomness
    /// also guards against fault and power analysis.
    ///
    /// # Errors
    /// [`SignError::SelfTestFailed`] if the machine miscalculates.
    pub fn sign_bip340_with_aux(
        &self,
        message: &[u8],
        aux_rand: &[u8; 32],
    ) -> Result<Bip340Signature, SignError> {
        sign_with_aux(self.scalar(), self.public_key(), message, aux_rand)
    }
}

/// Signs with auxiliary randomness from the system.
pub(crate) fn sign(
    secret: &NonZeroScalar,
    public_key: &Secp256k1PublicKey,
    message: &[u8],
) -> Result<Bip340Signature, SignError> {
    let mut aux_rand = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *aux_rand).map_err(SignError::RandomnessUnavailable)?;
    sign_with_aux(secret, public_key, message, &aux_rand)
}

/// The default signing of BIP-340, by its names. The library's own needs its key to be made first,
/// which costs a multiplication; the parity that it wants from that is known from the public key.
fn sign_with_aux(
    secret: &NonZeroScalar,
    public_key: &Secp256k1PublicKey,
    message: &[u8],
    aux_rand: &[u8; 32],
) -> Result<Bip340Signature, SignError> {
    let public_bytes = public_key.to_bytes();
    let (parity, x_of_p) = (public_bytes[0], &public_bytes[1..]);
    let mut d = Zeroizing::new(**secret);
    let negated = Zeroizing::new(-*d);
    d.conditional_assign(&negated, parity.ct_eq(&3));

    let mut t = Zeroizing::new(d.to_bytes());
    let mask = Zeroizing::new(tagged_hash(b"BIP0340/aux", &[aux_rand]));
    t.iter_mut().zip(mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
    let rand = Zeroizing::new(tagged_hash(b"BIP0340/nonce", &[&t, x_of_p, message]));
    let mut k = Zeroizing::new(<Scalar as Reduce<FieldBytes>>::reduce(&rand));
    let r_point = ProjectivePoint::mul_by_generator(&k).to_affine();
    let negated = Zeroizing::new(-*k);
    k.conditional_assign(&negated, r_point.y_is_odd());

    let r = r_point.x();
    let challenge = tagged_hash(b"BIP0340/challenge", &[&r, x_of_p, message]);
    let e = <Scalar as Reduce<FieldBytes>>::reduce(&challenge);
    let s = *k + e * *d;
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&r);
    bytes[32..].copy_from_slice(&s.to_bytes());
    // Refuses the numbers that BIP-340 refuses: `k`, and with it the x coordinate, or `s` was zero.
    let signature = Bip340Signature::from_bytes(&bytes).map_err(|_| SignError::SelfTestFailed)?;
    public_key.verify_bip340(message, &signature).map_err(|_| SignError::SelfTestFailed)?;
    Ok(signature)
}

fn tagged_hash(tag: &[u8], parts: &[&[u8]]) -> FieldBytes {
    let tag = Sha256::digest(tag);
    let mut hash = Sha256::new_with_prefix(tag).chain_update(tag);
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize()
}

impl Secp256k1PublicKey {
    /// Checks a BIP-340 signature over `message`, of any length and not hashed before, with the x
    /// coordinate of this key.
    ///
    /// # Errors
    /// [`VerifyError`], if the signature is not good.
    pub fn verify_bip340(
        &self,
        message: &[u8],
        signature: &Bip340Signature,
    ) -> Result<(), VerifyError> {
        // The conversion takes the point with this x and an even y, as lift_x does.
        schnorr::VerifyingKey::try_from(*self.point().as_affine())
            .and_then(|key| key.verify_raw(message, &signature.0))
            .map_err(|_| VerifyError)
    }
}

/// A BIP-340 signature, 64 bytes: the x coordinate of the nonce point, then `s`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bip340Signature(schnorr::Signature);

impl Bip340Signature {
    /// Reads 64 bytes. Whether the first 32 are the x coordinate of a point is seen when the signature
    /// is checked.
    ///
    /// # Errors
    /// [`SignatureError::WrongLength`]; [`SignatureError::Zero`] if either number is zero;
    /// [`SignatureError::OutOfRange`] if the first is not below the size of the field or the second
    /// not below the group order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let array: &[u8; 64] = bytes
            .try_into()
            .map_err(|_| SignatureError::WrongLength { expected: 64, got: bytes.len() })?;
        if array.chunks(32).any(|number| number == [0; 32]) {
            return Err(SignatureError::Zero);
        }
        schnorr::Signature::from_bytes(array).map(Self).map_err(|_| SignatureError::OutOfRange)
    }

    /// The signature as 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for Bip340Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bip340Signature({})", hex::encode(&self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two keys, one with an even and one with an odd y.
    fn keys() -> [Secp256k1SecretKey; 2] {
        let keys = [1, 6].map(|n| {
            let mut bytes = [0; 32];
            bytes[31] = n;
            Secp256k1SecretKey::from_bytes(&bytes).unwrap()
        });
        assert_eq!(keys.each_ref().map(|key| key.public_key().to_bytes()[0]), [2, 3]);
        keys
    }

    #[test]
    fn keys_of_either_parity_sign_and_verify() {
        for key in keys() {
            let signature = key.sign_bip340(b"any length").unwrap();
            assert_eq!(key.public_key().verify_bip340(b"any length", &signature), Ok(()));
            assert_eq!(key.public_key().verify_bip340(b"", &signature), Err(VerifyError));
        }
    }

    #[test]
    fn signatures_are_those_of_the_library_s_own_key() {
        for n in 1..=64_u8 {
            let secret = [n; 32];
            let ours = Secp256k1SecretKey::from_bytes(&secret).unwrap();
            let theirs = schnorr::SigningKey::from_slice(&secret).unwrap();
            let (message, aux) = (&[n; 70][..usize::from(n)], [!n; 32]);
            let expected = theirs.sign_raw(message, &aux).unwrap();
            assert_eq!(ours.sign_bip340_with_aux(message, &aux), Ok(Bip340Signature(expected)));
        }
    }

    #[test]
    fn a_secret_that_is_not_the_public_key_s_does_not_sign() {
        let [one, six] = keys();
        let mixed = sign(one.scalar(), six.public_key(), b"m");
        assert_eq!(mixed, Err(SignError::SelfTestFailed));
    }

    #[test]
    fn randomness_changes_the_signature_and_the_same_gives_the_same() {
        let [key, _] = keys();
        assert_ne!(key.sign_bip340(b"m").unwrap(), key.sign_bip340(b"m").unwrap());
        let fixed = |aux| key.sign_bip340_with_aux(b"m", &[aux; 32]).unwrap();
        assert_eq!(fixed(1), fixed(1));
        assert_ne!(fixed(1), fixed(2));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let [key, _] = keys();
        let good = key.sign_bip340(b"m").unwrap().to_bytes();
        assert!(Bip340Signature::from_bytes(&good).is_ok());
        for (half, byte, expected) in [
            (0..32, 0, SignatureError::Zero),
            (32..64, 0, SignatureError::Zero),
            (0..32, 0xff, SignatureError::OutOfRange),
            (32..64, 0xff, SignatureError::OutOfRange),
        ] {
            let mut bytes = good;
            bytes[half].fill(byte);
            assert_eq!(Bip340Signature::from_bytes(&bytes), Err(expected));
        }
        let short = SignatureError::WrongLength { expected: 64, got: 63 };
        assert_eq!(Bip340Signature::from_bytes(&good[1..]), Err(short));
    }
}
