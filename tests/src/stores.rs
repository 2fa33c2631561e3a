//! Stores without a node.

use std::path::Path;

use kms_backend_keystore::{Store, StoreError, UnlockSecret};
use kms_secrets::SecretBytes;

/// The key file whose every byte is `byte`.
#[must_use]
pub fn key_file(byte: u8) -> UnlockSecret {
    UnlockSecret::KeyFile(SecretBytes::from_slice(&[byte; 32]))
}

/// Opens the store at `path` with key file 7 or, if it is opened by another by now, 8.
///
/// # Errors
/// [`StoreError`].
pub fn open_store(path: &Path) -> Result<(Store, u8), StoreError> {
    match Store::open(path, &key_file(7)) {
        Err(StoreError::WrongKey { .. }) => Ok((Store::open(path, &key_file(8))?, 8)),
        opened => Ok((opened?, 7)),
    }
}

/// How many versions of keys are in the store, after each has been opened and has signed.
pub fn proved(store: &Store) -> usize {
    let verified = store.verify(|| {}).unwrap();
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    verified.versions
}
