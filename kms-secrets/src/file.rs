//! Reading a secret file: checked as it was opened, into memory that is wiped.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::source::{MAX_SOURCE_BYTES, SourceError};
use crate::{SecretBytes, fill, source};

const GROUP_READS: u32 = 0o040;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_ACCESS: u32 = 0o006;

/// Reads the whole of `path`. Every check is made on the opened file, so that what was checked is
/// what is read, wherever symbolic links lead.
pub(crate) fn read(path: &Path, group_readable: bool) -> Result<SecretBytes, SourceError> {
    let mut file = open(path)?;
    let size = check(path, &file, group_readable)?;

    let secret = fill::to_end(size, |buffer| file.read(buffer))
        .map_err(|cause| SourceError::Unreadable { path: path.into(), cause })?
        .ok_or_else(|| SourceError::Changed { path: path.into() })?;
    source::refuse_empty(secret, || format!("file {}", path.display()))
}

fn open(path: &Path) -> Result<File, SourceError> {
    // Not blocking: the open of a named pipe would wait for its writer. (A regular file's reads
    // don't change by it.)
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(
        |cause| match cause.kind() {
            ErrorKind::NotFound => SourceError::Missing { path: path.into() },
            _ => SourceError::Unreadable { path: path.into(), cause },
        },
    )
}

/// The file's size, if it is one that a secret may be read from.
fn check(path: &Path, file: &File, group_readable: bool) -> Result<usize, SourceError> {
    let metadata =
        file.metadata().map_err(|cause| SourceError::Unreadable { path: path.into(), cause })?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        let found = match kind {
            kind if kind.is_dir() => "a directory",
            kind if kind.is_fifo() => "a named pipe",
            kind if kind.is_socket() => "a socket",
            _ => "a device",
        };
        return Err(SourceError::NotRegular { path: path.into(), found });
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(SourceError::Owner { path: path.into(), owner, user });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_ACCESS != 0 {
        return Err(SourceError::OpenToOthers { path: path.into(), mode });
    }
    if mode & GROUP_WRITES != 0 || mode & GROUP_READS != 0 && !group_readable {
        return Err(SourceError::OpenToGroup { path: path.into(), mode });
    }
    usize::try_from(metadata.size())
        .ok()
        .filter(|size| *size <= MAX_SOURCE_BYTES)
        .ok_or_else(|| SourceError::TooLarge { place: format!("file {}", path.display()) })
}
