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
