//! The two traits of a backend: its settings, and the opened thing.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::{
    BackendError, Capabilities, Health, IfMissing, KeyInfo, KeyPage, KeySpec, Operation,
    PageRequest, Signer,
};
use kms_keys::KeyId;

/// The settings section of a backend. It can say what the backend will be able to do, and open it.
///
/// Settings are cloned and kept for the whole run of a node: they say where secrets are and never
/// hold one, and their `Debug` may be logged.
#[async_trait]
pub trait BackendSettings: DeserializeOwned + Clone + Debug + Send + Sync + 'static {
    /// What a backend with these settings can do. Touches nothing.
    fn capabilities(&self) -> Capabilities;

    /// The environment variables with secrets that [`open`](Self::open) will read: a node takes them
    /// out of the environment before any thread starts.
    fn env_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// What to do about a missing key whose own settings don't say.
    fn if_missing(&self) -> IfMissing {
        IfMissing::Fail
    }

    /// Opens the backend.
    ///
    /// # Errors
    /// [`BackendError`], when the backend can't be reached or used as these settings say.
    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError>;
}

/// What a backend is told when it is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenContext {
    /// The name that the node's settings give to this backend; it goes into every
    /// [`KeyInfo::backend`].
    pub name: String,
    /// The folder that relative paths of the backend's settings are taken from.
    pub base_dir: PathBuf,
}

impl OpenContext {
    /// A context for the backend called `name`, with relative paths taken from `base_dir`.
    pub fn new(name: impl Into<String>, base_dir: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), base_dir: base_dir.into() }
    }
}

/// An open place where keys live.
///
/// All methods may be called at once from many tasks; the service calls those that change a key
/// one after the other *per key*. A method that is given up half-way (its future is dropped) leaves
/// either the old or the new state behind. What a backend holds – locks, sessions, secrets – it
/// lets go when it is dropped.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Loads the key that `spec` describes. If it is missing, it is derived where
    /// [`KeySpec::derivation`] says so, or generated where [`KeySpec::if_missing`] does. Registering the same key again gives the same key; an
    /// answer means that the key survives a power cut.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::NotFound`] for a key that is missing and not to be
    /// generated. The text names the place that was looked at.
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError>;

    /// The keys of this backend in the order of their ids, a page at a time.
    ///
    /// # Errors
    /// [`BackendError`], when the keys can't be listed.
    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError>;

    /// How the backend is. Quick: at most one cheap request to whatever is behind it.
    async fn health(&self) -> Health;

    /// Makes a new version of the key the current one. The versions before stay among the answer's
    /// [`RegisteredKey::older`].
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Unsupported`] unless overridden.
    async fn rotate(&self, _id: &KeyId) -> Result<RegisteredKey, BackendError> {
        Err(BackendError::Unsupported(Operation::Rotate))
    }

    /// Stops the key from signing until it is enabled again.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Unsupported`] unless overridden.
    async fn disable(&self, _id: &KeyId) -> Result<KeyInfo, BackendError> {
        Err(BackendError::Unsupported(Operation::Disable))
    }

    /// Lets a disabled key sign again.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Unsupported`] unless overridden.
    async fn enable(&self, _id: &KeyId) -> Result<KeyInfo, BackendError> {
        Err(BackendError::Unsupported(Operation::Enable))
    }

    /// Schedules the key's deletion for when `wait` is over. Until then it is disabled and the
    /// deletion can be cancelled.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Unsupported`] unless overridden.
    async fn schedule_delete(
        &self,
        _id: &KeyId,
        _wait: std::time::Duration,
    ) -> Result<KeyInfo, BackendError> {
        Err(BackendError::Unsupported(Operation::ScheduleDelete))
    }

    /// Takes a scheduled deletion back.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Unsupported`] unless overridden.
    async fn cancel_delete(&self, _id: &KeyId) -> Result<KeyInfo, BackendError> {
        Err(BackendError::Unsupported(Operation::CancelDelete))
    }

    /// Destroys the secret of a key whose waiting time is over. Nothing brings it back.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Unsupported`] unless overridden.
    async fn destroy(&self, _id: &KeyId) -> Result<(), BackendError> {
        Err(BackendError::Unsupported(Operation::Destroy))
    }

    /// Says good-bye to whatever is behind the backend (ends sessions, revokes tokens) before it is
    /// dropped. The service gives it a short time and doesn't depend on it.
    async fn close(&self);
}

/// A key that a backend has loaded or generated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegisteredKey {
    /// What may be known of the key.
    pub info: KeyInfo,
    /// What signs with the key's current version.
    pub signer: Signer,
    /// What signs with the versions before, for who asks for one by its number.
    pub older: Vec<OlderVersion>,
}

/// A version of a key before its current one.
#[derive(Clone, Debug)]
pub struct OlderVersion {
    /// The version, from 1 on.
    pub version: u32,
    /// What signs with it.
    pub signer: Signer,
}

impl RegisteredKey {
    /// A key described by `info` that signs by `signer` and has no older versions.
    #[must_use]
    pub fn new(info: KeyInfo, signer: Signer) -> Self {
        Self { info, signer, older: Vec::new() }
    }

    /// The same key with its older versions.
    #[must_use]
    pub fn with_older(self, older: Vec<OlderVersion>) -> Self {
        Self { older, ..self }
    }
}
