//! What a store lies on: a file, made whole or not at all, and checked as it is opened.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    Builder, ConcurrencyMode, Database, ReadOnlyDatabase, ReadOnlyTable, ReadTransaction,
    ReadableDatabase, ReadableTable, TableDefinition,
};

use rustix::fs::{FlockOperation, OFlags};

use crate::error::StoreError;
use crate::store::Table;

/// The table that holds the header.
pub(crate) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// The part of the header that stands in clear, and the hidden one.
pub(crate) const HEADER: &str = "header";
pub(crate) const HIDDEN: &str = "hidden";

/// How much of the file may be kept in memory.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// What stands between a store's name and a number in the name of a file that will be one.
const UNFINISHED: &str = ".unfinished-";

/// How long a file that was replaced waits for its readers.
const PATIENCE_WITH_READERS: Duration = Duration::from_secs(10);

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
    let linked = std::fs::hard_link(&unfinished, path).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => StoreError::Exists { path: path.into() },
        _ => io(cause),
    });
    let removed = std::fs::remove_file(&unfinished).map_err(io);
    linked?;
    removed?;
    sync_folder(path).map_err(io)
}

/// The old file that [`replace_whole`] has left without a name.
pub(crate) struct Replaced(File);

/// The same for a database that is there already: the new one takes its place at once, and has its owner.
pub(crate) fn replace_whole(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<Replaced, StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "replaced", cause };
    let old = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
    let metadata = old.metadata().map_err(io)?;
    if metadata.nlink() > 1 {
        let cause = "it has another name too (a hard link), which would keep the old content";
        return Err(io(io::Error::other(cause)));
    }
    let unfinished = make(path, fill)?;
    let placed = (|| {
        let new = File::open(&unfinished)?;
        if new.metadata()?.uid() != metadata.uid() || new.metadata()?.gid() != metadata.gid() {
            std::os::unix::fs::fchown(&new, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        std::fs::rename(&unfinished, path)
    })();
    if let Err(cause) = placed {
        drop(std::fs::remove_file(&unfinished));
        return Err(io(cause));
    }
    sync_folder(path).map_err(io)?;
    Ok(Replaced(old))
}

impl Replaced {
    /// Overwrites the old content, once nobody reads it any more. This process must have closed its own
    /// database on it. Waits for readers, but not for ever.
    pub(crate) fn overwrite(mut self, path: &Path) -> Result<(), StoreError> {
        let io = |cause| StoreError::Io { path: path.into(), doing: "overwritten", cause };
        // Readers hold locks on parts of the file; one on all of it is to be had without them alone.
        let until = Instant::now() + PATIENCE_WITH_READERS;
        while rustix::fs::fcntl_lock(&self.0, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= until {
                let cause = "somebody still reads the old file, which keeps its content";
                return Err(io(io::Error::other(cause)));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let len = self.0.metadata().map_err(io)?.len();
        io::copy(&mut io::repeat(0).take(len), &mut self.0).map_err(io)?;
        self.0.sync_all().map_err(io)
    }
}

/// Makes a database beside `path`, under the name that it gives. Nothing is left of it on an error.
fn make(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<PathBuf, StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "created", cause };
    let (file, unfinished) = create_unfinished(path).map_err(io)?;
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

/// An empty file beside `path`, for this user alone, under a name that nobody has.
fn create_unfinished(path: &Path) -> io::Result<(File, PathBuf)> {
    for number in 0_u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("{UNFINISHED}{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        match options.read(true).write(true).create_new(true).mode(0o600).open(&name) {
            Ok(file) => return Ok((file, name.into())),
            // Left by a process that had this number and was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Overwrites and removes what killed processes left unfinished of the store at `path`. Whoever holds the
/// store's lock may: nobody else makes such files.
pub(crate) fn remove_left_overs(path: &Path) -> Result<(), StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "cleared of left-overs", cause };
    let Some(name) = path.file_name() else { return Ok(()) };
    let mut prefix = name.to_owned();
    prefix.push(UNFINISHED);
    for entry in std::fs::read_dir(folder_of(path)).map_err(io)? {
        let entry = entry.map_err(io)?;
        let is_left_over =
            entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        if is_left_over && entry.file_type().map_err(io)?.is_file() {
            let mut left = OpenOptions::new().write(true).open(entry.path()).map_err(io)?;
            let len = left.metadata().map_err(io)?.len();
            io::copy(&mut io::repeat(0).take(len), &mut left).map_err(io)?;
            left.sync_all().map_err(io)?;
            std::fs::remove_file(entry.path()).map_err(io)?;
        }
    }
    Ok(())
}

/// Where the store at `path` really is: locks and new files belong beside it, not beside a link to it.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    path.canonicalize().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => StoreError::Missing { path: path.into() },
        _ => StoreError::Io { path: path.into(), doing: "opened", cause },
    })
}

/// The same for a store that is to be made.
pub(crate) fn resolve_new(path: &Path) -> Result<PathBuf, StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "created", cause };
    let name = path.file_name().ok_or_else(|| io(io::ErrorKind::InvalidFilename.into()))?;
    Ok(folder_of(path).canonicalize().map_err(io)?.join(name))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens the file of a store and checks what can be checked from outside.
pub(crate) fn open(path: &Path, write: bool) -> Result<File, StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "opened", cause };
    // Not blocking: the open of a named pipe would wait for its writer.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::IsADirectory => {
            return Err(StoreError::NotRegular { path: path.into() });
        }
        Err(cause) => return Err(io(cause)),
    };
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(StoreError::NotRegular { path: path.into() });
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
    File::open(folder_of(path)).and_then(|folder| folder.sync_all())
}

pub(crate) fn failed(path: &Path, doing: &'static str, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(cause) if cause.kind() != io::ErrorKind::InvalidData => {
            StoreError::Io { path: path.into(), doing, cause }
        }
        // What is read while a change fails is read from a database that is no more.
        redb::Error::DatabaseClosed => {
            let cause = io::Error::new(io::ErrorKind::Interrupted, "a change failed meanwhile");
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
