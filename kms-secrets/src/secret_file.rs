//! Making a secret file: whole or not at all, for this user alone.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;

use crate::{SecretArray, SecretBytes};

/// What the owner may do with a secret file: read and write. Nobody else may do anything.
const MODE: u32 = 0o600;

/// Why a secret file could not be made. Holds nothing of its content.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Something is there already, even if only a link that leads nowhere. It has not been touched.
    #[error("{} exists already and is not replaced", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The file can't be made; there is no file of this name.
    #[error("file {} can't be made", path.display())]
    Unmade {
        /// The file's path.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The system gave no randomness.
    #[error("the system's randomness is unavailable")]
    Randomness(#[source] getrandom::Error),
    /// The file is there and whole, but it is not sure to be there after a power cut, or its content
    /// is still there under its unfinished name too.
    #[error(
        "file {} is made, but may not outlast a power cut, or its unfinished copy beside it could \
         not be removed",
        path.display()
    )]
    Unsettled {
        /// The file's path.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Makes a new file at `path` with just these bytes and mode 0600, whatever the umask. It is written
/// under another name in the same folder (`PATH.unfinished-…`), and gets its own one when all of it
/// is on the disk; so a file that is cut short never has the name. What is there already stays.
/// Blocks on the disk.
///
/// The folder must exist, on a file system with hard links. Whoever kills the process meanwhile may
/// leave the unfinished file behind.
///
/// # Errors
/// [`SecretFileError`], which names the path. Nothing is left behind then, but for
/// [`SecretFileError::Unsettled`].
pub fn create(path: &Path, content: &[u8]) -> Result<(), SecretFileError> {
    let unmade = |cause| SecretFileError::Unmade { path: path.into(), cause };
    let unsettled = |cause| SecretFileError::Unsettled { path: path.into(), cause };

    let (file, unfinished) = create_unfinished(path).map_err(unmade)?;
    // Not a rename: that would replace a file that somebody else has made meanwhile.
    let linked = write(file, content).and_then(|()| fs::hard_link(&unfinished, path));
    let removed = fs::remove_file(&unfinished);
    linked.map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => SecretFileError::Exists { path: path.into() },
        _ => unmade(cause),
    })?;
    removed.map_err(unsettled)?;
    sync_folder(path).map_err(unsettled)
}

/// Makes a new secret file at `path` with a passphrase that nobody can guess: 32 random bytes in
/// hexadecimal, and a newline. As [`create`] does it.
///
/// # Errors
/// As [`create`]; [`SecretFileError::Randomness`].
pub fn create_passphrase(path: &Path) -> Result<(), SecretFileError> {
    let random = SecretArray::<32>::try_init_with(|bytes| getrandom::fill(bytes))
        .map_err(SecretFileError::Randomness)?;
    let mut text = SecretBytes::with_capacity(2 * 32 + 1);
    let digits = base16ct::lower::encode(random.expose(), text.buffer_mut()).map(<[u8]>::len);
    let len = digits.map_err(|error| SecretFileError::Unmade {
        path: path.into(),
        cause: io::Error::other(error.to_string()),
    })?;
    text.buffer_mut()[len] = b'\n';
    text.set_len(len + 1);
    create(path, text.expose())
}

/// An empty file beside `path`, for this user alone, under a name that nobody has.
fn create_unfinished(path: &Path) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = OsString::from(path);
        name.push(format!(".unfinished-{}-{number}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&name) {
            Ok(file) => return Ok((file, name.into())),
            // Left by a process that had this number and was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn write(mut file: File, content: &[u8]) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn generated_passphrases_are_long_and_differ() {
        let folder = TempDir::new().unwrap();
        let made = ["a", "b"].map(|name| {
            let path = folder.path().join(name);
            create_passphrase(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, MODE);
            assert!(matches!(create_passphrase(&path), Err(SecretFileError::Exists { .. })));
            fs::read_to_string(path).unwrap()
        });
        for text in &made {
            let digits = text.strip_suffix('\n').unwrap();
            assert!(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        }
        assert_ne!(made[0], made[1]);
    }

    fn names(dir: &TempDir) -> Vec<OsString> {
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn the_file_has_the_bytes_and_the_mode_and_nothing_beside_it() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("key");
        create(&path, b"\x00secret\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\x00secret\n");
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o600, 1));
        assert_eq!(names(&dir), ["key"]);
    }

    #[test]
    fn what_is_there_is_not_replaced() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "first").unwrap();
        let error = create(&path, b"second").unwrap_err();
        assert!(matches!(error, SecretFileError::Exists { .. }), "{error:?}");
        assert!(error.to_string().contains("key exists already"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(&dir), ["key"]);
        assert!(matches!(create(dir.path(), b"x"), Err(SecretFileError::Exists { .. })));
    }

    #[test]
    fn a_link_is_neither_followed_nor_replaced() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("key");
        symlink("elsewhere", &path).unwrap();
        assert!(matches!(create(&path, b"x"), Err(SecretFileError::Exists { .. })));
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("elsewhere"));
        assert_eq!(names(&dir), ["key"]);
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error_and_not_made() {
        let dir = TempDir::new().unwrap();
        let error = create(&dir.path().join("missing/key"), b"x").unwrap_err();
        let SecretFileError::Unmade { cause, .. } = &error else { panic!("{error:?}") };
        assert_eq!(cause.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("missing/key can't be made"), "{error}");
        assert!(names(&dir).is_empty());
    }

    #[test]
    fn a_left_over_of_a_killed_process_is_no_obstacle() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("key");
        let left =
            |number| dir.path().join(format!("key.unfinished-{}-{number}", std::process::id()));
        for number in 0..100 {
            fs::write(left(number), "half").unwrap();
        }
        create(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(&dir).len(), 101);
    }

    #[test]
    fn of_two_who_make_the_same_file_one_succeeds() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("key");
        let made: Vec<_> = std::thread::scope(|scope| {
            let make = |byte: u8| {
                scope.spawn({
                    let path = &path;
                    move || create(path, &[byte; 64])
                })
            };
            let all: Vec<_> = (0..8).map(make).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winner = made.iter().position(Result::is_ok).unwrap();
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
        assert_eq!(fs::read(&path).unwrap(), [u8::try_from(winner).unwrap(); 64]);
        assert_eq!(names(&dir), ["key"]);
    }
}
