//! The settings section of this backend.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, Failure, IfMissing, OpenContext,
    Operation, SourceUse, async_trait,
};
use kms_secrets::{
    DecodedSecret, Encoding, PassphraseError, PassphraseSource, SecretSource, SourceError,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::backend::Keystore;
use crate::format::unlocker::UnlockSecret;
use crate::store::Store;

/// Settings of this backend. `U` says what may open the store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeystoreSettings<U = UnlockSource> {
    /// The store's file. A relative path is taken from the folder of the settings.
    pub path: PathBuf,
    /// What opens it.
    pub unlock: U,
    /// Whether a store that doesn't exist is made. If not, it is an error: a disk that isn't mounted
    /// must not silently give a node new keys.
    #[serde(default)]
    pub create: bool,
    /// What to do about a missing key whose own settings don't say.
    #[serde(default)]
    pub if_missing: IfMissing,
}

/// Where the secret that opens a store is. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UnlockSource {
    /// A passphrase.
    Passphrase(PassphraseSource),
    /// A key file: at least 32 bytes that nobody can guess, used as they are.
    KeyFile(PathBuf),
}

/// Settings that say what opens a store.
#[async_trait]
pub trait UnlockSettings: DeserializeOwned + Clone + Debug + Send + Sync + 'static {
    /// The environment variables that hold secrets.
    fn env_names(&self) -> Vec<String>;

    /// What opens the store; relative paths are taken from the context's folder.
    ///
    /// # Errors
    /// [`BackendError`].
    async fn secret(&self, context: &OpenContext) -> Result<UnlockSecret, BackendError>;
}

#[async_trait]
impl<U: UnlockSettings> BackendSettings for KeystoreSettings<U> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::software(
            SourceUse::Refused,
            [
                Operation::Generate,
                Operation::Derive,
                Operation::Execute,
                Operation::Rotate,
                Operation::Disable,
                Operation::Enable,
                Operation::ScheduleDelete,
                Operation::CancelDelete,
                Operation::Destroy,
            ],
        )
    }

    fn env_names(&self) -> Vec<String> {
        self.unlock.env_names()
    }

    fn if_missing(&self) -> IfMissing {
        self.if_missing
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        let secret = self.unlock.secret(context).await?;
        let (path, create) = (context.base_dir.join(&self.path), self.create);
        let (store, secret) = blocking(move || {
            let store = if create && path.symlink_metadata().is_err() {
                Store::create(&path, &secret)
            } else {
                Store::open(&path, &secret)
            };
            Ok((store, secret))
        })
        .await?;
        secret.close().await;
        Ok(Arc::new(Keystore::new(context.name.clone(), store?)))
    }
}

#[async_trait]
impl UnlockSettings for UnlockSource {
    fn env_names(&self) -> Vec<String> {
        match self {
            Self::Passphrase(source) => source.env_name().map(str::to_owned).into_iter().collect(),
            Self::KeyFile(_) => Vec::new(),
        }
    }

    async fn secret(&self, context: &OpenContext) -> Result<UnlockSecret, BackendError> {
        let (source, base_dir) = (self.clone(), context.base_dir.clone());
        blocking(move || source.read(&base_dir)).await
    }
}

/// The disk, key derivations and people are waited for, which must not happen on the node's runtime
/// threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| {
        BackendError::Unavailable(Failure::because("opening the store was cut off", cause))
    })?
}

impl UnlockSource {
    /// Reads the secret; relative paths are taken from `base_dir`. Blocks on files, commands and
    /// people.
    ///
    /// # Errors
    /// [`BackendError`], when the source can't be read.
    pub fn read(&self, base_dir: &Path) -> Result<UnlockSecret, BackendError> {
        const WHAT: &str = "what opens the keystore";
        match self {
            Self::Passphrase(source) => {
                let passphrase = source.clone().relative_to(base_dir).read();
                passphrase.map(UnlockSecret::Passphrase).map_err(|cause| {
                    let class = match &cause {
                        PassphraseError::Source(source) => class_of(source),
                        PassphraseError::Command { .. } => BackendError::Unavailable,
                        _ => BackendError::Misconfigured,
                    };
                    class(Failure::because(WHAT, cause))
                })
            }
            Self::KeyFile(path) => {
                let encoding = Some(Encoding::Raw);
                let path = base_dir.join(path);
                let file = SecretSource::File { path, encoding, group_readable: false };
                match file.read() {
                    Ok(DecodedSecret::Bytes(key) | DecodedSecret::Pem { der: key, .. }) => {
                        Ok(UnlockSecret::KeyFile(key))
                    }
                    Err(cause) => Err(class_of(&cause)(Failure::because(WHAT, cause))),
                }
            }
        }
    }
}

fn class_of(error: &SourceError) -> fn(Failure) -> BackendError {
    match error {
        SourceError::Missing { .. } | SourceError::Unset { .. } => BackendError::NotFound,
        SourceError::Unreadable { .. } => BackendError::Unavailable,
        SourceError::Shield { .. } => BackendError::Corrupt,
        _ => BackendError::Misconfigured,
    }
}
