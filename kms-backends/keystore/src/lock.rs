//! One writer per store: a lock file beside it, which says who holds the lock.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// The lock on a store, until it is dropped or its process ends. The file stays: taking it away would
/// let two processes lock two files of one name.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Locks the store at `path`. Doesn't wait.
    pub(crate) fn acquire(path: &Path) -> Result<Self, StoreError> {
        let lock = lock_path(path);
        let io = |doing| move |cause| StoreError::Io { path: lock_path(path), doing, cause };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(io("locked"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Who it is, is a courtesy: the answer is the same where it can't be read.
                let _ = (&file).take(16).read_to_string(&mut pid);
                let holder = pid.trim().parse().ok();
                return Err(StoreError::InUse { path: path.into(), holder });
            }
            Err(TryLockError::Error(cause)) => return Err(io("locked")(cause)),
        }
        file.set_len(0).map_err(io("locked"))?;
        file.rewind().map_err(io("locked"))?;
        writeln!(file, "{}", std::process::id()).map_err(io("locked"))?;
        Ok(Self { _file: file })
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}
