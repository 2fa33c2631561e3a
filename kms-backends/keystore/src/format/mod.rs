//! What is in a store's file, byte for byte. Described for readers of other make in
//! `docs/keystore-format.md`.

pub(crate) mod digest;
pub(crate) mod header;
pub(crate) mod kdf;
pub(crate) mod master;
pub(crate) mod record;
pub(crate) mod seal;
pub(crate) mod unlocker;

use crate::error::StoreError;
use master::{MasterRecord, StoredMaster};
use record::{Record, StoredKey};
use unlocker::Unlocker;

/// What the bytes of a record, stored under `name`, say in clear. Nothing is proved: that takes the
/// store's key.
///
/// # Errors
/// [`StoreError::Record`].
pub fn inspect_record(name: &[u8], bytes: &[u8]) -> Result<StoredKey, StoreError> {
    Record::from_bytes(name, bytes).map(|record| record.info)
}

/// What the bytes of a master, stored under `name`, say in clear. Nothing is proved.
///
/// # Errors
/// [`StoreError::Master`].
pub fn inspect_master(name: &[u8], bytes: &[u8]) -> Result<StoredMaster, StoreError> {
    MasterRecord::from_bytes(name, bytes).map(|master| master.info)
}

/// What the bytes of a header say of the ways to open its store. Nothing is proved.
///
/// # Errors
/// [`StoreError::Version`], [`StoreError::Header`].
pub fn inspect_header(bytes: &[u8]) -> Result<Vec<Unlocker>, StoreError> {
    header::Header::from_bytes(bytes).map(|header| header.unlockers)
}

/// The version of the format that this code writes, and the only one it reads.
pub(crate) const VERSION: u32 = 1;
