//! What a store lies on: a file, made whole or not at all, and checked as it is opened.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Builder, ConcurrencyMode, Database, ReadOnlyDatabase, ReadOnlyTable, ReadTransaction,
    ReadableDatabase, ReadableTable, TableDefinition,
};

use crate::error::StoreError;
use crate::store::Table;

/// The table that holds the header.
pub(crate) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// The part of the header that stands in clear, and the hidden one.
pub(crate) const HEADER: &str = "header";
pub(crate) const HIDDEN: &str = "hidden";

/// How much of the file may be kept in memory.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Permission bits that let others than the owner in.
const OTHERS: u32 = 0o077;

/// What a store lies on. Opened again after a failed write.
pub(crate) trait Medium: std::fmt::Debug + Send + Sync {
    /// Opens the database, whose every page is checked.
    fn open(&self) -> Result<Opened, StoreError>;

    /// What a database's error means here, while something was being `doing`.
    fn failed(&self, doing: &'static str, error: redb::Error) -> StoreError;

    /// Where it is.
    fn path(&self) -> PathBuf;

    /// Whether nothing may be written.
    fn is_read_only(&self) -> bool {
        false
    }
}

/// An open database.
pub(crate) enum Opened {
    /// To be read and written.
    Writer(Database),
    /// To be read, while another process may write.
    Reader(ReadOnlyDatabase),
}

/// What is in a database at one moment.
pub(crate) struct Contents(ReadTransaction);

/// The part of the header that stands in clear, and the hidden one, where they are there.
pub(crate) type HeaderParts = (Option<Vec<u8>>, Option<Vec<u8>>);

impl Opened {
    pub(crate) fn contents(&self) -> Result<Contents, redb::Error> {
        Ok(Contents(match self {
            Self::Writer(database) => database.begin_read()?,
            Self::Reader(database) => database.begin_read()?,
        }))
    }
}

impl Contents {
    /// The part of the header that stands in clear, and the hidden one.
    pub(crate) fn header(&self) -> Result<HeaderParts, redb::Error> {
        let meta = self.0.open_table(META)?;
        let part = |name: &str| -> Result<Option<Vec<u8>>, redb::Error> {
            Ok(meta.get(name)?.map(|part| part.value().to_vec()))
        };
        Ok((part(HEADER)?, part(HIDDEN)?))
    }

    pub(crate) fn table(
        &self,
        table: Table,
    ) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, redb::Error> {
        Ok(self.0.open_table(table.definition())?)
    }

    /// Hands every entry of a table to `each`, in the order of their names, up to the first that it
    /// refuses.
    pub(crate) fn each<E>(
        &self,
        table: Table,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, redb::Error> {
        for entry in self.table(table)?.iter()? {
            let (name, bytes) = entry?;
            if let Err(refused) = each(name.value(), bytes.value()) {
                return Ok(Err(refused));
            }
        }
        Ok(Ok(()))
    }
}

/// A file on a disk.
#[derive(Debug)]
pub(crate) struct DiskFile(pub(crate) PathBuf);

impl Medium for DiskFile {
    fn open(&self) -> Result<Opened, StoreError> {
        let (path, file) = (&self.0, open(&self.0, true)?);
        builder()
            .set_concurrency_mode(ConcurrencyMode::SingleWriter)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend(path, file)?)
            .map(Opened::Writer)
            .map_err(|error| failed(path, "opened", error.into()))
    }

    fn failed(&self, doing: &'static str, error: redb::Error) -> StoreError {
        failed(&self.0, doing, error)
    }

    fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

/// Makes a database at `path` and has `fill` fill it, under another name until it is whole and on the
/// disk.
pub(crate) fn create_whole(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<(), StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "created", cause };
    let unfinished = make(path, fill)?;
    // Not a rename: that would replace a store that somebody else has made meanwhile.
    let linked = std::fs::hard_link(&unfinished, path).map_err(io);
    let removed = std::fs::remove_file(&unfinished).map_err(io);
    linked?;
    removed?;
    sync_folder(path).map_err(io)
}

/// The same for a database that is there already: the new one takes its place at once, and the old
/// one's content is overwritten.
pub(crate) fn replace_whole(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<(), StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "replaced", cause };
    let mut old = OpenOptions::new().write(true).open(path).map_err(io)?;
    let unfinished = make(path, fill)?;
    if let Err(cause) = std::fs::rename(&unfinished, path) {
        drop(std::fs::remove_file(&unfinished));
        return Err(io(cause));
    }
    sync_folder(path).map_err(io)?;
    let len = old.metadata().map_err(io)?.len();
    io::copy(&mut io::repeat(0).take(len), &mut old).map_err(io)?;
    old.sync_all().map_err(io)
}

/// Makes a database beside `path`, under the name that it gives. Nothing is left of it on an error.
fn make(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<PathBuf, StoreError> {
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
        let created = |error| failed(path, "created", error);
        let database = builder().create_with_backend(backend(path, file)?);
        let mut database = database.map_err(|error| created(error.into()))?;
        fill(&database).map_err(created)?;
        // What it was filled with lies in a file of a mebibyte, most of it free.
        database.compact().map(drop).map_err(|error| created(error.into()))
    })();
    match made {
        Ok(()) => Ok(unfinished),
        Err(error) => {
            drop(std::fs::remove_file(&unfinished));
            Err(error)
        }
    }
}

/// Opens the file of a store and checks what can be checked from outside.
pub(crate) fn open(path: &Path, write: bool) -> Result<File, StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "opened", cause };
    let file = OpenOptions::new().read(true).write(write).open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(StoreError::Header("it is no regular file"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(StoreError::OpenToOthers { path: path.into(), mode });
    }
    if metadata.len() == 0 {
        // An empty file would be taken for a new database.
        return Err(StoreError::Header("the file is empty"));
    }
    Ok(file)
}

/// Makes what was done to the names in the folder of `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all())
}

pub(crate) fn failed(path: &Path, doing: &'static str, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(cause) if cause.kind() != io::ErrorKind::InvalidData => {
            StoreError::Io { path: path.into(), doing, cause }
        }
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            StoreError::InUse { path: path.into(), holder: None }
        }
        other => StoreError::Damaged(Box::new(other)),
    }
}

pub(crate) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

pub(crate) fn backend(path: &Path, file: File) -> Result<FileBackend, StoreError> {
    FileBackend::new(file).map_err(|error| failed(path, "opened", error.into()))
}
