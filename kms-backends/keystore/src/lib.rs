//! Keys in one encrypted file on disk.
//!
//! [`KeystoreSettings`] opens the file as a backend of the key management service; [`Store`] is the
//! file itself, for the operator's command and for whoever else works on a store while no node does.
//!
//! One key derivation (Argon2id) per open – one for each passphrase that the store may be opened with,
//! until one fits – leads from a passphrase to a random store key;
//! each secret is sealed under a key derived from that (XChaCha20-Poly1305), together with all that
//! is known of it in clear. A keyed digest over all records, in a sealed part of the header, shows
//! when one was taken out or put back as it was before. What nobody can see from the file alone is
//! that the whole file was put back.
//!
//! Instead of a passphrase, somebody else may open the store key ([`ExternalUnlocker`]), so that a store
//! opens by itself for whoever may ask them. It doesn't change where keys are used: in this process.

mod backend;
mod clock;
mod error;
mod external;
mod file;
mod format;
mod hex;
mod lock;
#[cfg(test)]
mod power_cut;
mod settings;
mod signer;
mod snapshot;
mod store;

pub use error::StoreError;
pub use external::{External, ExternalUnlocker};
pub use format::kdf::Kdf;
pub use format::master::{MasterKind, MasterSecret, StoredMaster};
pub use format::record::{KeyFlags, StoredKey, StoredState};
pub use format::unlocker::{UnlockSecret, Unlocker, UnlockerKind};
pub use format::{inspect_header, inspect_master, inspect_record};
pub use lock::{Holder, holder};
pub use settings::{KeystoreSettings, UnlockSettings, UnlockSource};
pub use store::{NewKey, RestorePlan, Store, Verified};
