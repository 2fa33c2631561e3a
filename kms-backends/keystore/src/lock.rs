//! One writer per store: a lock file beside it, which says who holds the lock.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::error::StoreError;

/// How long a lock is waited for that may be no more than a look: ten times ten milliseconds.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: usize = 10;

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
        let io = |doing| move |cause| StoreError::Io { path: path.into(), doing, cause };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link would have another file overwritten.
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&lock)
            .map_err(io("locked"))?;
        give_to_owner(&file, path);
        // Who only looks whether there is a holder locks the file for a moment.
        let mut looks = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if looks < LOOKS => {
                    looks += 1;
                    thread::sleep(LOOK);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::InUse { path: path.into(), holder: pid(&file) });
                }
                Err(TryLockError::Error(cause)) => return Err(io("locked")(cause)),
            }
        }
        file.set_len(0).map_err(io("locked"))?;
        file.rewind().map_err(io("locked"))?;
        writeln!(file, "{}", std::process::id()).map_err(io("locked"))?;
        Ok(Self { _file: file })
    }
}

/// Root may work on another user's store, which must not lock that user out. Who is not root can't give
/// files away, and need not.
fn give_to_owner(lock: &File, store: &Path) {
    if let (Ok(lock_is), Ok(store_is)) = (lock.metadata(), store.metadata())
        && lock_is.uid() != store_is.uid()
    {
        drop(fchown(lock, Some(store_is.uid()), Some(store_is.gid())));
    }
}

/// Who has a store open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A process, and which one, if that is known.
    Process(Option<u32>),
}

/// Who has the store at `path` open for writing. Changes nothing.
pub fn holder(path: &Path) -> Result<Holder, StoreError> {
    let lock = lock_path(path);
    let file = match File::open(&lock) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(cause) => return Err(StoreError::Io { path: lock, doing: "read", cause }),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(Holder::Process(pid(&file))),
        Err(TryLockError::Error(cause)) => Err(StoreError::Io { path: lock, doing: "read", cause }),
    }
}

/// What the holder wrote into its lock file. A courtesy: the lock is the same where it can't be read.
fn pid(file: &File) -> Option<u32> {
    let mut pid = String::new();
    file.take(16).read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}
