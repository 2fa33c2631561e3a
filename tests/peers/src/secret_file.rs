//! Files with secrets, as backends and nodes take them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file that only its owner may read, as secrets must be, and its folder if there is none.
///
/// # Panics
/// If that can't be done.
pub fn write_secret(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}
