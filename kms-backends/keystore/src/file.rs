//! What a store lies on: a file, made whole or not at all, and checked as it is opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database};

use crate::error::StoreError;

/// How much of the file may be kept in memory.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Permission bits that let others than the owner in.
const OTHERS: u32 = 0o077;

/// What a store lies on. Opened again after a failed write.
pub(crate) trait Medium: std::fmt::Debug + Send + Sync {
    /// Opens the database, whose every page is checked.
    fn open(&self) -> Result<Database, StoreError>;

    /// What a database's error means here, while something was being `doing`.
    fn failed(&self, doing: &'static str, error: redb::Error) -> StoreError;
}

/// A file on a disk.
#[derive(Debug)]
pub(crate) struct DiskFile(pub(crate) PathBuf);

impl Medium for DiskFile {
    fn open(&self) -> Result<Database, StoreError> {
        open(&self.0)
    }

    fn failed(&self, doing: &'static str, error: redb::Error) -> StoreError {
        failed(&self.0, doing, error)
    }
}

/// Makes a database at `path` and has `fill` fill it, under another name until it is whole and on the
/// disk.
pub(crate) fn create_whole(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<(), StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "created", cause };
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".unfinished-{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);

    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(io)?;
    let made = (|| {
        let database = builder().create_with_backend(backend(path, file)?);
        fill(&database.map_err(|error| failed(path, "created", error.into()))?)
            .map_err(|error| failed(path, "created", error))?;
        // Not a rename: that would replace a store that somebody else has made meanwhile.
        std::fs::hard_link(&unfinished, path).map_err(io)
    })();
    let removed = std::fs::remove_file(&unfinished).map_err(io);
    made?;
    removed?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(io)
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "opened", cause };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(StoreError::OpenToOthers { path: path.into(), mode });
    }
    if metadata.len() == 0 {
        // An empty file would be taken for a new database.
        return Err(StoreError::Header("the file is empty"));
    }
    builder()
        .set_check_integrity_on_open(true)
        .create_with_backend(backend(path, file)?)
        .map_err(|error| failed(path, "opened", error.into()))
}

fn failed(path: &Path, doing: &'static str, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(cause) if cause.kind() != io::ErrorKind::InvalidData => {
            StoreError::Io { path: path.into(), doing, cause }
        }
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path: path.into(), holder: None },
        other => StoreError::Damaged(Box::new(other)),
    }
}

pub(crate) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn backend(path: &Path, file: File) -> Result<FileBackend, StoreError> {
    FileBackend::new(file).map_err(|error| failed(path, "opened", error.into()))
}
