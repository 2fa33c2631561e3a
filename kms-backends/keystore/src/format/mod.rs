//! What is in a store's file, byte for byte. Described for readers of other make in
//! `docs/keystore-format.md`.

pub(crate) mod digest;
pub(crate) mod header;
pub(crate) mod kdf;
pub(crate) mod master;
pub(crate) mod record;
pub(crate) mod seal;
pub(crate) mod unlocker;

/// The version of the format that this code writes, and the only one it reads.
pub(crate) const VERSION: u32 = 1;
