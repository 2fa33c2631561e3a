//! BIP-340: Schnorr signatures on secp256k1.

use std::fmt;

use k256::schnorr;
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
        let mut aux_rand = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *aux_rand).map_err(SignError::RandomnessUnavailable)?;
        self.sign_bip340_with_aux(message, &aux_rand)
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
        let signature =
            self.bip340().sign_raw(message, aux_rand).map_err(|_| SignError::SelfTestFailed)?;
        self.bip340()
            .verifying_key()
            .verify_raw(message, &signature)
            .map_err(|_| SignError::SelfTestFailed)?;
        Ok(Bip340Signature(signature))
    }
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
