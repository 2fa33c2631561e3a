//! Secrets for the shipped settings, so that they run on a fresh machine. For no other settings: a
//! node that makes up missing secrets gives itself a new identity where a mount went wrong.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kms_keys::{KeyType, SecretKey};
use kms_secrets::{SecretBytes, SecretSource};
use thiserror::Error;

use crate::settings::NodeSettings;

/// Why a demo secret could not be made.
#[derive(Debug, Error)]
#[error("the demo secret {} can't be made", path.display())]
pub struct DemoError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// What went wrong.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Makes the secret files that `settings` point at and that aren't there, readable by this user
/// alone, and gives their paths. What is there is left alone.
///
/// # Errors
/// [`DemoError`]; no half-written file is left behind.
pub fn make_missing_secrets(settings: &NodeSettings) -> Result<Vec<PathBuf>, DemoError> {
    let mut made = Vec::new();
    for declared in settings.kms.keys() {
        let Some(SecretSource::File { path, .. }) = &declared.spec.source else {
            continue;
        };
        if path.symlink_metadata().is_ok() {
            continue;
        }
        make_secret(path, declared.spec.key_type)
            .map_err(|cause| DemoError { path: path.clone(), cause })?;
        made.push(path.clone());
    }
    Ok(made)
}

fn make_secret(
    path: &Path,
    key_type: KeyType,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let key = SecretKey::generate(key_type)?;
    let mut hex = SecretBytes::with_capacity(65);
    let len = base16ct::lower::encode(key.expose_secret().expose(), hex.buffer_mut())?.len();
    hex.buffer_mut()[len] = b'\n';
    hex.set_len(len + 1);

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    write_whole(path, folder, hex.expose())?;
    Ok(())
}

/// Writes a file that is either there with all its content or not at all, and never replaces one.
fn write_whole(path: &Path, folder: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension(format!("unfinished-{}", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::hard_link(&unfinished, path)
    })();
    let removed = std::fs::remove_file(&unfinished);
    written?;
    removed?;
    File::open(folder)?.sync_all()
}
