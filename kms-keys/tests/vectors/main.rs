//! The values that the standards publish, each a case of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

mod bip340;
mod bip39;
mod bls;
#[path = "../common/mod.rs"]
mod common;
mod derivation;
mod documents;
mod ecdsa;
mod ed25519;
mod eip2335;
mod encrypted_documents;

use kms_keys::{RestingKey, SecretKey, SigningScheme};

/// The signature of the key of `secret`, made from the key's bytes at rest.
fn signed_at_rest(secret: &[u8], scheme: SigningScheme, message: &[u8]) -> Vec<u8> {
    let key = SecretKey::from_bytes(scheme.key_type(), secret).unwrap();
    let (bytes, public_key) = (key.at_rest(), key.public_key());
    drop(key);
    RestingKey::new(&public_key, bytes.expose()).unwrap().sign(scheme, message).unwrap().to_bytes()
}
