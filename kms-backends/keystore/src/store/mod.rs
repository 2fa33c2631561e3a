//! The open store: one database file, every change of it one durable transaction.

mod backup;
mod key;
mod lifecycle;
mod master;
mod read;
mod transaction;
mod unlock;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::StoreError;
use crate::file::{self, DiskFile, Medium, Opened};
use crate::format::digest::Digest;
use crate::format::header::Header;
use crate::format::master::MasterRecord;
use crate::format::record::Record;
use crate::format::seal::StoreKeys;
use crate::format::unlocker::UnlockSecret;
use crate::lock::WriterLock;
use crate::snapshot::Snapshot;

pub use backup::RestorePlan;
pub use key::NewKey;
pub(crate) use transaction::Table;
pub(crate) use unlock::NewStore;
pub use verify::Verified;

/// An open store. Dropping it releases its lock and wipes its keys.
///
/// Every method blocks for the disk. What changes the store is on the disk when it returns. On an error
/// it has not happened – unless the disk says that it could not sync what it synced all the same; which of
/// the two it was, the next change finds out.
pub struct Store {
    medium: Box<dyn Medium>,
    sealing: Sealing,
    /// Writers take turns.
    state: Mutex<State>,
    /// Why the last write failed, if it did. Beside the state, which is locked for as long as a disk takes.
    failure: Mutex<Option<String>>,
    /// Held by who writes; a reader has none.
    lock: Option<WriterLock>,
}

/// What the store is sealed with.
struct Sealing {
    header: Header,
    /// The header as it is stored: its exact bytes are bound to the hidden part.
    bytes: Vec<u8>,
    keys: StoreKeys,
}

struct State {
    /// `None` after a failed write, until it has been opened again.
    database: Option<Opened>,
    /// What the last acknowledged transaction left in the header's hidden part.
    committed: Hidden,
    /// What a transaction that failed may have left there all the same.
    attempted: Option<Hidden>,
}

/// The hidden part of the header, and what it says.
#[derive(Clone)]
struct Hidden {
    bytes: Vec<u8>,
    digest: Digest,
}

impl Store {
    /// Makes a new, empty store at `path` that `secret` opens. The file is there with all its content
    /// or not at all. Blocks for the key derivation too.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Exists`] where there is a file already.
    pub fn create(path: &Path, secret: &UnlockSecret) -> Result<Self, StoreError> {
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.into() });
        }
        let path = &file::resolve_new(path)?;
        let lock = WriterLock::acquire(path)?;
        file::remove_left_overs(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.into() });
        }
        let contents = NewStore::sealed_for(secret)?;
        file::create_whole(path, |database| contents.write(database))?;
        Self::open_on(Box::new(DiskFile(path.into())), Some(lock), secret)
    }

    /// Opens the store at `path`, and proves that every record in it is the one that was last
    /// written. Blocks for the key derivation too.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Missing`], [`StoreError::InUse`], [`StoreError::WrongKey`], and
    /// whatever is wrong with what is stored.
    pub fn open(path: &Path, secret: &UnlockSecret) -> Result<Self, StoreError> {
        let path = &file::resolve(path)?;
        // Nothing is put beside what is no store.
        drop(file::open(path, true)?);
        let lock = WriterLock::acquire(path)?;
        file::remove_left_overs(path)?;
        Self::open_on(Box::new(DiskFile(path.into())), Some(lock), secret)
    }

    /// Opens the store at `path` for reading alone. Another process may have it open, and may write
    /// to it. Nothing is written, so a read-only file system will do. Blocks for the key derivation
    /// too.
    ///
    /// # Errors
    /// [`StoreError`], as [`Store::open`]. Whatever would change the store is
    /// [`StoreError::ReadOnly`].
    pub fn open_read_only(path: &Path, secret: &UnlockSecret) -> Result<Self, StoreError> {
        let path = &file::resolve(path)?;
        Self::open_on(Box::new(Snapshot(path.into())), None, secret)
    }

    pub(crate) fn open_on(
        medium: Box<dyn Medium>,
        lock: Option<WriterLock>,
        secret: &UnlockSecret,
    ) -> Result<Self, StoreError> {
        let database = medium.open()?;
        let failed = |error| medium.failed("read", error);
        let contents = database.contents().map_err(failed)?;
        let (bytes, hidden) = contents.header().map_err(failed)?;
        let (Some(bytes), Some(hidden)) = (bytes, hidden) else {
            return Err(StoreError::Header("a part of it is missing"));
        };
        let header = Header::from_bytes(&bytes)?;
        let store_key = header.unlock(secret)?;
        let keys = StoreKeys::derive(&store_key, &header.store)?;
        let digest = keys.open(|keys| {
            let expected = Header::open(&bytes, keys, &hidden)?;
            let mut digest = Digest::default();
            for table in Table::ALL {
                let each = contents.each(table, |name, record| {
                    match table {
                        Table::Records => drop(Record::from_bytes(name, record)?),
                        Table::Masters => drop(MasterRecord::from_bytes(name, record)?),
                    }
                    digest.add(keys.digest, table.as_str(), name, record);
                    Ok(())
                });
                each.map_err(failed)??;
            }
            if digest == expected { Ok(digest) } else { Err(StoreError::Records) }
        })?;
        drop(contents);
        let committed = Hidden { bytes: hidden, digest };
        let state = State { database: Some(database), committed, attempted: None };
        let sealing = Sealing { header, bytes, keys };
        Ok(Self { medium, sealing, state: Mutex::new(state), failure: Mutex::default(), lock })
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.medium.path()
    }

    /// Why the last write failed, in words; `None` if it did not. Doesn't wait for one that is under way.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn id(&self) -> &[u8; 16] {
        &self.sealing.header.store
    }

    fn keys(&self) -> &StoreKeys {
        &self.sealing.keys
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("medium", &self.medium).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use kms_secrets::SecretBytes;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_failed_is_told_while_a_disk_takes_its_time() {
        let folder = TempDir::new().unwrap();
        let unlock = UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]));
        let store = Store::create(&folder.path().join("store"), &unlock).unwrap();
        let (said, heard) = mpsc::channel();
        thread::scope(|scope| {
            let writing = store.state();
            scope.spawn(|| said.send(store.failure()).unwrap());
            let told = heard.recv_timeout(Duration::from_secs(60));
            drop(writing);
            assert_eq!(told.unwrap(), None);
        });
    }
}
