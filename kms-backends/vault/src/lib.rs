//! Ed25519 keys in the Transit engine of HashiCorp Vault or OpenBao.
//!
//! [`VaultSettings`] opens one mount as a backend of the key management service. Keys are made there as
//! non-exportable and never leave the server: every signature is asked for, and believed when the public
//! key that was registered verifies it. Transit knows neither secp256k1 nor BLS12-381.
//!
//! A key's name there is its id, with what Transit doesn't take written as `_` and two hexadecimal
//! digits: `/` is `_2F`, `_` itself is `_5F`, and a `.` or `-` in the first or last place `_2E` or `_2D`.
//! `node/identity` is `node_2Fidentity`. Keys of other names and types are left alone.
//!
//! Disabling a key is OpenBao's soft deletion, which HashiCorp's server doesn't have. Deleting is behind
//! [`VaultSettings::allow_deletion`] and takes a disabled key, or any where keys can't be disabled;
//! afterwards the server has forgotten the name, so that whoever must notice a new key of that name pins the
//! public key.
//!
//! With the feature `envelope`, a key of Transit opens a keystore ([`VaultUnlock`]), for the key types that
//! Transit doesn't have.
//!
//! What is not reached: the copies of a token that the TLS and HTTP libraries make while they send it.

mod address;
mod answer;
mod auth;
mod backend;
mod connection;
#[cfg(feature = "envelope")]
mod envelope;
mod health;
mod http;
mod lease;
mod login;
mod mount;
mod name;
mod pool;
#[cfg(test)]
mod scripted;
mod session;
mod settings;
mod signer;
mod tls;
mod transit;

pub use address::Address;
pub use auth::{AppRoleSettings, AuthSettings, KubernetesSettings};
#[cfg(feature = "envelope")]
pub use envelope::VaultUnlock;
#[cfg(feature = "envelope")]
pub use name::KeyName;
pub use name::{MountPath, of as key_name};
pub use settings::{TlsSettings, VaultSettings};
