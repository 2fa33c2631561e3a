//! The passphrase for the shipped settings' store, so that they run on a fresh machine. For no other
//! settings: a node that makes up what is missing gives itself a new identity where a mount went
//! wrong.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use kms_backends::{AnyBackend, AnyUnlock};
use kms_secrets::{PassphraseSource, secret_file};
use thiserror::Error;

use crate::settings::NodeSettings;

/// Why a demo passphrase could not be made.
#[derive(Debug, Error)]
#[error("the demo passphrase {} can't be made", path.display())]
pub struct DemoError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// What went wrong.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Makes a random passphrase for each store of `settings` that isn't there yet and whose passphrase is
/// in a file that isn't there either; readable by this user alone. Gives the files' paths. A store
/// that is there keeps its passphrase, and is none of ours if that is gone.
///
/// # Errors
/// [`DemoError`]; no half-written file is left behind.
pub fn make_missing_passphrases(settings: &NodeSettings) -> Result<Vec<PathBuf>, DemoError> {
    let mut made = Vec::new();
    for backend in settings.kms.backends().values() {
        let AnyBackend::Keystore(keystore) = backend else { continue };
        let AnyUnlock::Passphrase(PassphraseSource::File { path, .. }) = &keystore.unlock else {
            continue;
        };
        let path = settings.kms.base_dir().join(path);
        let store = settings.kms.base_dir().join(&keystore.path);
        if path.symlink_metadata().is_err() && store.symlink_metadata().is_err() {
            make(&path).map_err(|cause| DemoError { path: path.clone(), cause })?;
            made.push(path);
        }
    }
    Ok(made)
}

fn make(path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    Ok(secret_file::create_passphrase(path)?)
}
