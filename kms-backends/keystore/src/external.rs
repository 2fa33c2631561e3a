//! Unlockers that somebody else opens: an HSM, a server, a cloud service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kms_backend::{BackendError, Failure, Request, async_trait};
use kms_secrets::{SecretArray, SecretBytes};
use tokio::runtime::Handle;

/// The most bytes that a provider may make of a store key.
pub(crate) const MOST_SEALED: usize = 8 * 1024;

/// Somebody who seals the key of a store and opens it again, so that nothing on this machine does.
///
/// The store's key is in this process's memory while the store is open: this guards the store as it lies
/// on the disk, and lets somebody else say who may open it.
#[async_trait]
pub trait ExternalUnlocker: fmt::Debug + Send + Sync {
    /// What the provider is called in the store's header, for example `vault`.
    fn provider(&self) -> &'static str;

    /// Which key of the provider it is, in words of the provider. Stands in the header in clear; an
    /// unlocker is opened by a provider with equal parameters alone. Where the provider is found is none
    /// of them: that may change.
    fn parameters(&self) -> BTreeMap<String, String>;

    /// Seals a store's key, together with `bound`, which says which store and unlocker it is for: 1 to
    /// 8,192 bytes.
    ///
    /// # Errors
    /// [`BackendError`].
    async fn seal(&self, key: &SecretArray<32>, bound: &[u8]) -> Result<Vec<u8>, BackendError>;

    /// What [`ExternalUnlocker::seal`] sealed, if `bound` is the same.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Denied`], if this node may not; [`BackendError::WrongSecret`],
    /// if it was sealed with another key or together with something else.
    async fn open(&self, sealed: &[u8], bound: &[u8]) -> Result<SecretBytes, BackendError>;

    /// Says good-bye to the provider. Called when nothing is to be opened any more.
    async fn close(&self) {}
}

/// An external unlocker, asked from threads that may block.
#[derive(Clone, Debug)]
pub struct External {
    unlocker: Arc<dyn ExternalUnlocker>,
    runtime: Handle,
    request: Option<Request>,
}

impl External {
    /// Has `unlocker` work on the runtime, and for the request, of the calling task.
    ///
    /// # Errors
    /// [`BackendError::Misconfigured`] outside of a runtime.
    pub fn new(unlocker: Arc<dyn ExternalUnlocker>) -> Result<Self, BackendError> {
        let runtime = Handle::try_current().map_err(|cause| {
            BackendError::Misconfigured(Failure::because("an external unlocker", cause))
        })?;
        Ok(Self { unlocker, runtime, request: Request::current() })
    }

    /// Whoever is asked.
    #[must_use]
    pub fn unlocker(&self) -> &Arc<dyn ExternalUnlocker> {
        &self.unlocker
    }

    pub(crate) fn is(&self, provider: &str, parameters: &BTreeMap<String, String>) -> bool {
        self.unlocker.provider() == provider && self.unlocker.parameters() == *parameters
    }

    pub(crate) fn seal(
        &self,
        key: &SecretArray<32>,
        bound: &[u8],
    ) -> Result<Vec<u8>, BackendError> {
        let sealed = self.block_on(self.unlocker.seal(key, bound))?;
        if (1..=MOST_SEALED).contains(&sealed.len()) {
            return Ok(sealed);
        }
        let what = format!("{} bytes were made of the key, which is no size for it", sealed.len());
        Err(BackendError::Corrupt(Failure::new(what)))
    }

    pub(crate) fn open(
        &self,
        sealed: &[u8],
        bound: &[u8],
    ) -> Result<SecretArray<32>, BackendError> {
        let opened = self.block_on(self.unlocker.open(sealed, bound))?;
        SecretArray::from_slice(opened.expose()).ok_or_else(|| {
            let what = format!("what was opened has {} bytes, expected 32", opened.len());
            BackendError::Corrupt(Failure::new(what))
        })
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.request {
            Some(request) => self.runtime.block_on(request.scope(work)),
            None => self.runtime.block_on(work),
        }
    }
}
