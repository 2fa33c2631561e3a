//! Keys in one encrypted file on disk.
//!
//! [`KeystoreSettings`] opens the file as a backend of the key management service. One key derivation (Argon2id) per open leads from a passphrase to a random store key;
//! each secret is sealed under a key derived from that (XChaCha20-Poly1305), together with all that
//! is known of it in clear. A keyed digest over all records, in a sealed part of the header, shows
//! when one was taken out or put back as it was before. What nobody can see from the file alone is
//! that the whole file was put back.

mod backend;
mod error;
mod file;
mod format;
mod hex;
mod lock;
#[cfg(test)]
mod power_cut;
mod settings;
mod signer;
mod store;

pub use error::StoreError;
pub use settings::{KeystoreSettings, UnlockSource};
