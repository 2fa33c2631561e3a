//! What a lenient verifier of Ed25519 accepts and this one does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_verify};
use ed25519_dalek::{SigningKey, VerifyingKey};
use kms_keys::{Ed25519PublicKey, Ed25519Signature, KeyError};
use sha2::{Digest, Sha512};

const MESSAGE: &[u8] = b"message";

/// `R` ‖ `s` with the `s` that fits `R`, if the logarithm of `R` is zero up to torsion.
fn signature_with(r: [u8; 32], public: &[u8; 32], secret: &Scalar) -> [u8; 64] {
    let hash = Sha512::new().chain_update(r).chain_update(public).chain_update(MESSAGE).finalize();
    let s = Scalar::from_bytes_mod_order_wide(&hash.into()) * secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(s.as_bytes());
    signature
}

#[test]
fn a_nonce_point_of_small_order() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let public = key.verifying_key();
    let expanded = ExpandedSecretKey::from(&key.to_bytes());
    let identity = EIGHT_TORSION[0].compress().to_bytes();
    let bytes = signature_with(identity, public.as_bytes(), &expanded.scalar);

    let lenient = ed25519_dalek::Signature::from_bytes(&bytes);
    assert!(raw_verify::<Sha512>(&public, MESSAGE, &lenient).is_ok());
    let strict = Ed25519PublicKey::from_bytes(public.as_bytes()).unwrap();
    let signature = Ed25519Signature::from_bytes(&bytes).unwrap();
    assert!(strict.verify(MESSAGE, &signature).is_err());
}

#[test]
fn a_public_key_of_small_order_that_signs_everything() {
    let identity = EIGHT_TORSION[0].compress().to_bytes();
    let public = VerifyingKey::from_bytes(&identity).unwrap();
    let bytes = signature_with(identity, &identity, &Scalar::ZERO);

    let lenient = ed25519_dalek::Signature::from_bytes(&bytes);
    assert!(raw_verify::<Sha512>(&public, MESSAGE, &lenient).is_ok());
    assert!(raw_verify::<Sha512>(&public, b"another", &lenient).is_ok());
    assert_eq!(Ed25519PublicKey::from_bytes(&identity), Err(KeyError::NotInSubgroup));
}
