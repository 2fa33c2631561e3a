//! Ed25519 (RFC 8032), the pure variant.

use std::fmt;
use std::hash::{Hash, Hasher};

use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use kms_secrets::{SecretArray, on_wiped_stack};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::{KeyError, SignatureError, VerifyError, hex, random};

/// An Ed25519 secret key: the 32-byte seed of RFC 8032, and what signing needs of it.
///
/// A signature made with the right secret and a wrong public key gives the secret away. So the two
/// are kept together from the start, and a signature made when the key is made shows that they match.
///
/// No `Clone`, no `Display`, no serialisation. `Debug` shows the public key alone.
pub struct Ed25519SecretKey {
    seed: SecretArray<32>,
    /// SHA-512 of the seed, taken apart once, so that signing does not hash the seed each time.
    expanded: Box<ExpandedSecretKey>,
    public_key: Ed25519PublicKey,
}

impl Ed25519SecretKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::RandomnessUnavailable`]; [`KeyError::SelfTestFailed`] if the machine miscalculates.
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_secret(random::secret_bytes()?)
    }

    /// The key of a 32-byte seed. Every seed is a key. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`]; [`KeyError::SelfTestFailed`] if the machine miscalculates.
    pub fn from_bytes(seed: &[u8]) -> Result<Self, KeyError> {
        let got = seed.len();
        let seed =
            SecretArray::from_slice(seed).ok_or(KeyError::WrongLength { expected: 32, got })?;
        Self::from_secret(seed)
    }

    pub(crate) fn from_secret(seed: SecretArray<32>) -> Result<Self, KeyError> {
        on_wiped_stack(|| Self::compute(seed))
    }

    /// What touches the secret is on a wiped stack of its own, so that nothing of it can be in the unused
    /// bytes of what is returned.
    fn compute(seed: SecretArray<32>) -> Result<Self, KeyError> {
        let expanded = on_wiped_stack(|| expand(seed.expose()));
        let point = on_wiped_stack(|| VerifyingKey::from(&*expanded));
        // Read back from its bytes, so that the test below covers the key that others will see.
        let public_key =
            Ed25519PublicKey::from_bytes(point.as_bytes()).map_err(|_| KeyError::SelfTestFailed)?;
        let key = Self { seed, expanded, public_key };
        let signature = on_wiped_stack(|| key.sign(b""));
        key.public_key.verify(b"", &signature).map_err(|_| KeyError::SelfTestFailed)?;
        Ok(key)
    }

    /// The public key, kept since the secret was made.
    #[must_use]
    pub fn public_key(&self) -> &Ed25519PublicKey {
        &self.public_key
    }

    /// Signs `message`, of any length and not hashed before. The same message gives the same 64 bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Ed25519Signature {
        Ed25519Signature(raw_sign::<Sha512>(&self.expanded, message, &self.public_key.0))
    }

    /// What signing needs of the seed, which [`sign_expanded`] takes: scalar, then prefix.
    pub(crate) fn write_expanded(&self, out: &mut [u8; 64]) {
        let (scalar, prefix) = out.split_at_mut(32);
        scalar.copy_from_slice(self.expanded.scalar.as_bytes());
        prefix.copy_from_slice(&self.expanded.hash_prefix);
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        self.seed.expose()
    }
}

/// Signs without the seed, whose hash costs as much as a signature with the key that has to be made
/// of it. `None` if the scalar is none: it was damaged.
pub(crate) fn sign_expanded(
    expanded: &[u8; 64],
    public_key: &Ed25519PublicKey,
    message: &[u8],
) -> Option<Ed25519Signature> {
    let (scalar, prefix) = expanded.split_first_chunk()?;
    let scalar = Zeroizing::new(Scalar::from_canonical_bytes(*scalar).into_option()?);
    // Wipes itself when dropped.
    let expanded = ExpandedSecretKey { scalar: *scalar, hash_prefix: prefix.try_into().ok()? };
    Some(Ed25519Signature(raw_sign::<Sha512>(&expanded, message, &public_key.0)))
}

/// What signing needs of the seed, on the heap where it stays.
fn expand(seed: &[u8; 32]) -> Box<ExpandedSecretKey> {
    let hash = hash_seed(seed);
    let (scalar, prefix) = hash.expose().split_at(32);
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(scalar);
    let mut expanded = Box::new(ExpandedSecretKey { scalar: Scalar::ZERO, hash_prefix: [0; 32] });
    expanded.scalar = Scalar::from_bytes_mod_order(*bytes);
    expanded.hash_prefix.copy_from_slice(prefix);
    expanded
}

/// SHA-512 of the seed with the first half clamped (RFC 8032, section 5.1.5, steps 1 and 2). That half
/// is the secret scalar of Ed25519, and of X25519 with the same key.
pub(crate) fn hash_seed(seed: &[u8; 32]) -> SecretArray<64> {
    SecretArray::init_with(|hash| {
        Sha512::new_with_prefix(seed).finalize_into(hash.into());
        hash[0] &= 0b1111_1000;
        hash[31] &= 0b0111_1111;
        hash[31] |= 0b0100_0000;
    })
}

impl fmt::Debug for Ed25519SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519SecretKey")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// An Ed25519 public key, 32 bytes: canonically encoded and not of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ed25519PublicKey(VerifyingKey);

impl Ed25519PublicKey {
    /// Reads the 32 bytes of RFC 8032, section 5.1.2.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`], [`KeyError::NotAPoint`]; [`KeyError::NonCanonical`] for a coordinate
    /// that is not reduced or a sign that zero does not have; [`KeyError::NotInSubgroup`] for the eight
    /// points of small order, the identity among them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let array = bytes
            .try_into()
            .map_err(|_| KeyError::WrongLength { expected: 32, got: bytes.len() })?;
        let key = VerifyingKey::from_bytes(array).map_err(|_| KeyError::NotAPoint)?;
        if key.to_edwards().compress().as_bytes() != array {
            return Err(KeyError::NonCanonical);
        }
        if key.is_weak() {
            return Err(KeyError::NotInSubgroup);
        }
        Ok(Self(key))
    }

    /// The key as 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Checks a signature over `message`, strictly: the cofactorless equation of RFC 8032, with `s`
    /// reduced and no point of small order.
    ///
    /// # Errors
    /// [`VerifyError`], if the signature is not good.
    pub fn verify(&self, message: &[u8], signature: &Ed25519Signature) -> Result<(), VerifyError> {
        self.0.verify_strict(message, &signature.0).map_err(|_| VerifyError)
    }

    /// The X25519 public key (RFC 7748, the birational map of section 4.1) of the same secret: 32
    /// bytes, what [`X25519Operator`](crate::X25519Operator) takes as its input.
    #[must_use]
    pub fn to_x25519(&self) -> [u8; 32] {
        self.0.to_montgomery().to_bytes()
    }
}

impl Hash for Ed25519PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

impl fmt::Debug for Ed25519PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519PublicKey({})", hex::encode(self.0.as_bytes()))
    }
}

/// An Ed25519 signature, 64 bytes: `R` ‖ `s`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ed25519Signature(ed25519_dalek::Signature);

impl Ed25519Signature {
    /// Reads 64 bytes. Whether `R` is a good point is seen when the signature is checked.
    ///
    /// # Errors
    /// [`SignatureError::WrongLength`]; [`SignatureError::OutOfRange`] if `s` is not below the group
    /// order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let array = bytes
            .try_into()
            .map_err(|_| SignatureError::WrongLength { expected: 64, got: bytes.len() })?;
        let signature = ed25519_dalek::Signature::from_bytes(array);
        if bool::from(Scalar::from_canonical_bytes(*signature.s_bytes()).is_none()) {
            return Err(SignatureError::OutOfRange);
        }
        Ok(Self(signature))
    }

    /// The signature as 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for Ed25519Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Signature({})", hex::encode(&self.0.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_library_s_own_key() {
        for seed in [[0; 32], [7; 32], [0xff; 32]] {
            let ours = Ed25519SecretKey::from_bytes(&seed).unwrap();
            let theirs = ed25519_dalek::SigningKey::from_bytes(&seed);
            assert_eq!(ours.public_key().to_bytes(), theirs.verifying_key().to_bytes());
            for message in [&b""[..], b"message"] {
                let expected = ed25519_dalek::Signer::sign(&theirs, message).to_bytes();
                assert_eq!(ours.sign(message).to_bytes(), expected);
            }
        }
    }

    #[test]
    fn public_keys_of_small_order_are_refused() {
        for point in curve25519_dalek::constants::EIGHT_TORSION {
            let bytes = point.compress().to_bytes();
            assert_eq!(Ed25519PublicKey::from_bytes(&bytes), Err(KeyError::NotInSubgroup));
        }
    }

    #[test]
    fn public_keys_in_another_encoding_are_refused() {
        // y = p + 3 is y = 3, which the curve has, written too large.
        let mut large = [0xff; 32];
        (large[0], large[31]) = (0xf0, 0x7f);
        let mut small = [0; 32];
        small[0] = 3;
        assert!(Ed25519PublicKey::from_bytes(&small).is_ok());
        assert_eq!(Ed25519PublicKey::from_bytes(&large), Err(KeyError::NonCanonical));
    }

    #[test]
    fn bytes_that_are_no_point_are_refused() {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        assert_eq!(Ed25519PublicKey::from_bytes(&bytes), Err(KeyError::NotAPoint));
        let short = KeyError::WrongLength { expected: 32, got: 31 };
        assert_eq!(Ed25519PublicKey::from_bytes(&bytes[1..]), Err(short));
    }

    #[test]
    fn a_signature_whose_s_is_not_reduced_is_refused() {
        let key = Ed25519SecretKey::from_bytes(&[1; 32]).unwrap();
        let mut bytes = key.sign(b"m").to_bytes();
        bytes[63] |= 0x10; // adds 2^252, just below the group order
        bytes[48] = 0xff;
        assert_eq!(Ed25519Signature::from_bytes(&bytes), Err(SignatureError::OutOfRange));
        let short = SignatureError::WrongLength { expected: 64, got: 63 };
        assert_eq!(Ed25519Signature::from_bytes(&bytes[1..]), Err(short));
    }
}
