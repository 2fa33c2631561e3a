//! Reading a store that another process may be writing.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use redb::{ConcurrencyMode, Database};

use crate::error::StoreError;
use crate::file::{self, Medium, Opened};
use crate::lock::{Holder, holder};

/// The largest file that is read into memory: 4 GiB, some ten million keys.
const MOST_BYTES: u64 = 4 << 30;

/// How often a file is read that another process begins to write meanwhile.
const TRIES: usize = 3;

/// A store's file, to be read alone.
///
/// Where a process writes it, the database's own shared mode gives a consistent view; that process has
/// checked every page when it opened the file. Where nobody does, the file is read into memory and
/// opened there, with every page checked and whatever a power cut left behind put right: the file
/// itself is not touched, and may lie on a read-only file system.
#[derive(Debug)]
pub(crate) struct Snapshot(pub(crate) PathBuf);

impl Medium for Snapshot {
    fn open(&self) -> Result<Opened, StoreError> {
        let path = &self.0;
        let mut refused = None;
        for _ in 0..TRIES {
            let opened = match holder(path)? {
                Holder::Nobody => in_memory(path),
                Holder::Process(_) => shared(path),
            };
            match opened {
                Ok(opened) => return Ok(opened),
                // A writer may have come or gone between the look and the reading.
                Err(error @ (StoreError::Damaged(_) | StoreError::InUse { .. })) => {
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or(StoreError::Bug("there is more than one try")))
    }

    fn failed(&self, doing: &'static str, error: redb::Error) -> StoreError {
        file::failed(&self.0, doing, error)
    }

    fn path(&self) -> PathBuf {
        self.0.clone()
    }

    fn is_read_only(&self) -> bool {
        true
    }
}

/// A database that reads the file of another process's database.
fn shared(path: &Path) -> Result<Opened, StoreError> {
    let backend = file::backend(path, file::open(path, false)?)?;
    // This way of opening checks no pages, and a damaged one may be a panic of the library's.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        file::builder()
            .set_concurrency_mode(ConcurrencyMode::SingleWriter)
            .open_read_only_with_backend(backend)
    }));
    match opened {
        Ok(Ok(database)) => Ok(Opened::Reader(database)),
        Ok(Err(error)) => Err(file::failed(path, "opened", error.into())),
        Err(_) => Err(StoreError::Damaged(Box::new(redb::Error::Corrupted(
            "the database library gave up".into(),
        )))),
    }
}

fn in_memory(path: &Path) -> Result<Opened, StoreError> {
    let io = |cause| StoreError::Io { path: path.into(), doing: "read", cause };
    let mut file = file::open(path, false)?;
    let len = file.metadata().map_err(io)?.len();
    if len > MOST_BYTES {
        return Err(StoreError::TooLarge { path: path.into() });
    }
    let memory = InMemoryBackend::new();
    memory.set_len(len).map_err(io)?;
    let mut chunk = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let part = usize::try_from(len - at).map_or(chunk.len(), |left| left.min(chunk.len()));
        file.read_exact(&mut chunk[..part]).map_err(io)?;
        memory.write(at, &chunk[..part]).map_err(io)?;
        at += part as u64;
    }
    let opened: Result<Database, _> =
        file::builder().set_check_integrity_on_open(true).create_with_backend(memory);
    opened.map(Opened::Writer).map_err(|error| file::failed(path, "opened", error.into()))
}
