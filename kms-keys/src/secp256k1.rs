//! Keys on secp256k1 (SEC 2), which sign with ECDSA and with BIP-340.

use std::fmt;
use std::hash::{Hash, Hasher};

use k256::ecdsa::{SigningKey, VerifyingKey};
use k256::{FieldBytes, NonZeroScalar};
use kms_secrets::{SecretArray, on_wiped_stack};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{KeyError, hex, random};

/// A secp256k1 secret key: a number from 1 to the group order less 1, as 32 bytes in big-endian order.
///
/// Signs with ECDSA ([`Self::sign_sha256`], [`Self::sign_digest`]) and with BIP-340
/// ([`Self::sign_bip340`]). No `Clone`, no `Display`, no serialisation. `Debug` shows the public key
/// alone.
pub struct Secp256k1SecretKey {
    bytes: SecretArray<32>,
    /// The library's form; wiped by it when dropped.
    signer: Box<SigningKey>,
    public_key: Secp256k1PublicKey,
}

impl Secp256k1SecretKey {
    /// A new key from the system's randomness, uniform over all keys.
    ///
    /// # Errors
    /// [`KeyError::RandomnessUnavailable`], [`KeyError::RandomnessBroken`].
    pub fn generate() -> Result<Self, KeyError> {
        random::draw(0xff, |bytes| getrandom::fill(bytes), Self::from_secret)
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
        let make = || SigningKey::from_slice(bytes.expose()).ok().map(Box::new);
        let signer = on_wiped_stack(make).ok_or(KeyError::OutOfRange)?;
        let public_key = Secp256k1PublicKey(*signer.verifying_key());
        Ok(Self { bytes, signer, public_key })
    }

    /// The public key, computed when the secret was made.
    #[must_use]
    pub fn public_key(&self) -> &Secp256k1PublicKey {
        &self.public_key
    }

    pub(crate) fn scalar(&self) -> &NonZeroScalar {
        self.signer.as_nonzero_scalar()
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        self.bytes.expose()
    }
}

/// The number that `bytes` are, or `None` if it is zero or too large. It is wiped when dropped.
pub(crate) fn read_scalar(bytes: &[u8; 32]) -> Option<Zeroizing<NonZeroScalar>> {
    let mut repr = Zeroizing::new(FieldBytes::default());
    repr.copy_from_slice(bytes);
    NonZeroScalar::from_repr(*repr).into_option().map(Zeroizing::new)
}

impl fmt::Debug for Secp256k1SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secp256k1SecretKey")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// A secp256k1 public key: a point of the curve that is not the identity. Written as 33 bytes, the
/// compressed form of SEC 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secp256k1PublicKey(VerifyingKey);

impl Secp256k1PublicKey {
    /// Reads a point as in SEC 1, section 2.3.4: 33 bytes (compressed, first byte 2 or 3) or 65 bytes
    /// (uncompressed, first byte 4). The hybrid and compact forms are refused.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`]; [`KeyError::NonCanonical`] for another first byte;
    /// [`KeyError::NotAPoint`]; [`KeyError::Identity`] for the single zero byte that SEC 1 gives it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        match (bytes.len(), bytes.first()) {
            (33, Some(2 | 3)) | (65, Some(4)) => {}
            (33 | 65, _) => return Err(KeyError::NonCanonical),
            (1, Some(0)) => return Err(KeyError::Identity),
            (got, _) => return Err(KeyError::WrongLength { expected: 33, got }),
        }
        VerifyingKey::from_sec1_bytes(bytes).map(Self).map_err(|_| KeyError::NotAPoint)
    }

    /// The compressed form, 33 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 33] {
        let mut bytes = [0; 33];
        bytes.copy_from_slice(self.0.to_sec1_point(true).as_bytes());
        bytes
    }

    /// The uncompressed form, 65 bytes.
    #[must_use]
    pub fn to_uncompressed_bytes(&self) -> [u8; 65] {
        let mut bytes = [0; 65];
        bytes.copy_from_slice(self.0.to_sec1_point(false).as_bytes());
        bytes
    }

    /// The x coordinate alone, 32 bytes: the public key of BIP-340.
    #[must_use]
    pub fn to_x_only_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&self.to_bytes()[1..]);
        bytes
    }

    pub(crate) fn point(&self) -> &VerifyingKey {
        &self.0
    }

    pub(crate) fn from_point(point: VerifyingKey) -> Self {
        Self(point)
    }
}

impl Hash for Secp256k1PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bytes().hash(state);
    }
}

impl fmt::Debug for Secp256k1PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secp256k1PublicKey({})", hex::encode(&self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The group order, from SEC 2.
    const ORDER: &[u8] = b"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

    #[test]
    fn secrets_from_one_to_the_order_less_one_are_keys() {
        let mut bytes = hex::decode(ORDER).unwrap();
        assert_eq!(Secp256k1SecretKey::from_bytes(&bytes).unwrap_err(), KeyError::OutOfRange);
        bytes[31] -= 1;
        assert!(Secp256k1SecretKey::from_bytes(&bytes).is_ok());
        assert_eq!(Secp256k1SecretKey::from_bytes(&[0; 32]).unwrap_err(), KeyError::Zero);
        assert_eq!(Secp256k1SecretKey::from_bytes(&[0xff; 32]).unwrap_err(), KeyError::OutOfRange);
    }

    #[test]
    fn public_keys_are_read_in_both_forms_and_written_compressed() {
        let key = *Secp256k1SecretKey::generate().unwrap().public_key();
        assert_eq!(Secp256k1PublicKey::from_bytes(&key.to_bytes()), Ok(key));
        assert_eq!(Secp256k1PublicKey::from_bytes(&key.to_uncompressed_bytes()), Ok(key));
        assert_eq!(key.to_x_only_bytes()[..], key.to_uncompressed_bytes()[1..33]);
    }

    #[test]
    fn other_forms_of_a_public_key_are_refused() {
        let key = *Secp256k1SecretKey::generate().unwrap().public_key();
        let mut compact = key.to_bytes();
        compact[0] = 5;
        assert_eq!(Secp256k1PublicKey::from_bytes(&compact), Err(KeyError::NonCanonical));
        let mut hybrid = key.to_uncompressed_bytes();
        hybrid[0] = 6 | (hybrid[64] & 1);
        assert_eq!(Secp256k1PublicKey::from_bytes(&hybrid), Err(KeyError::NonCanonical));
        assert_eq!(Secp256k1PublicKey::from_bytes(&[0]), Err(KeyError::Identity));
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        let key = *Secp256k1SecretKey::generate().unwrap().public_key();
        let mut bytes = key.to_uncompressed_bytes();
        bytes[64] ^= 1;
        assert_eq!(Secp256k1PublicKey::from_bytes(&bytes), Err(KeyError::NotAPoint));
        let mut no_x = [0; 33];
        (no_x[0], no_x[32]) = (2, 5); // 5^3 + 7 is not a square
        assert_eq!(Secp256k1PublicKey::from_bytes(&no_x), Err(KeyError::NotAPoint));
    }
}
