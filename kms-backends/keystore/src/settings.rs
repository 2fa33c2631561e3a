//! The settings section of this backend.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, Failure, OpenContext, Operation,
    SourceUse, async_trait,
};
use kms_secrets::{DecodedSecret, Encoding, SecretBytes, SecretSource, SourceError};
use serde::{Deserialize, Serialize};

use crate::backend::Keystore;
use crate::format::unlocker::UnlockSecret;
use crate::store::Store;

/// Settings of this backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeystoreSettings {
    /// The store's file. A relative path is taken from the folder of the settings.
    pub path: PathBuf,
    /// What opens it.
    pub unlock: UnlockSource,
    /// Whether a store that doesn't exist is made. If not, it is an error: a disk that isn't mounted
    /// must not silently give a node new keys.
    #[serde(default)]
    pub create: bool,
}

/// Where the secret that opens a store is. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UnlockSource {
    /// A file with the passphrase; a newline at its end doesn't count.
    PassphraseFile(PathBuf),
    /// An environment variable with the passphrase.
    PassphraseEnv(String),
    /// A key file: at least 32 bytes that nobody can guess, used as they are.
    KeyFile(PathBuf),
}

#[async_trait]
impl BackendSettings for KeystoreSettings {
    fn capabilities(&self) -> Capabilities {
        Capabilities::software(
            SourceUse::Refused,
            [
                Operation::Generate,
                Operation::Execute,
                Operation::Rotate,
                Operation::Disable,
                Operation::Enable,
                Operation::ScheduleDelete,
                Operation::CancelDelete,
            ],
        )
    }

    fn env_names(&self) -> Vec<String> {
        match &self.unlock {
            UnlockSource::PassphraseEnv(name) => vec![name.clone()],
            _ => Vec::new(),
        }
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        let (settings, context) = (self.clone(), context.clone());
        let opened = tokio::task::spawn_blocking(move || settings.open_store(&context)).await;
        opened.map_err(|cause| {
            BackendError::Unavailable(Failure::because("opening the store was cut off", cause))
        })?
    }
}

impl KeystoreSettings {
    fn open_store(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        let path = context.base_dir.join(&self.path);
        let secret = self.unlock.read(&context.base_dir)?;
        let store = if self.create && path.symlink_metadata().is_err() {
            Store::create(&path, &secret)
        } else {
            Store::open(&path, &secret)
        };
        Ok(Arc::new(Keystore::new(context.name.clone(), store?)))
    }
}

impl UnlockSource {
    /// Reads the secret. Blocks on file I/O.
    ///
    /// # Errors
    /// [`BackendError`], when the file or variable can't be read.
    fn read(&self, base_dir: &Path) -> Result<UnlockSecret, BackendError> {
        match self {
            Self::PassphraseFile(path) => {
                let content = read(file(base_dir, path))?;
                let text = content.expose();
                let text = text.strip_suffix(b"\n").unwrap_or(text);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                Ok(UnlockSecret::Passphrase(SecretBytes::from_slice(text)))
            }
            Self::PassphraseEnv(name) => {
                let encoding = Some(Encoding::Raw);
                read(SecretSource::Env { name: name.clone(), encoding })
                    .map(UnlockSecret::Passphrase)
            }
            Self::KeyFile(path) => read(file(base_dir, path)).map(UnlockSecret::KeyFile),
        }
    }
}

fn file(base_dir: &Path, path: &Path) -> SecretSource {
    SecretSource::File {
        path: base_dir.join(path),
        encoding: Some(Encoding::Raw),
        group_readable: false,
    }
}

fn read(source: SecretSource) -> Result<SecretBytes, BackendError> {
    match source.read() {
        Ok(DecodedSecret::Bytes(secret) | DecodedSecret::Pem { der: secret, .. }) => Ok(secret),
        Err(cause) => {
            let class = match &cause {
                SourceError::Missing { .. } | SourceError::Unset { .. } => BackendError::NotFound,
                SourceError::Unreadable { .. } => BackendError::Unavailable,
                _ => BackendError::Misconfigured,
            };
            Err(class(Failure::because("what opens the keystore", cause)))
        }
    }
}
