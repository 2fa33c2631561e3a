//! The store as a backend of the key management service.

use std::sync::Arc;
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, Failure, Health, HealthLevel, IfMissing, KeyInfo, KeyPage, KeySpec,
    OlderVersion, PageRequest, RegisteredKey, Signer, async_trait,
};
use kms_keys::KeyId;
use tokio::sync::RwLock;

use crate::error::StoreError;
use crate::format::record::Record;
use crate::signer::StoredSigner;
use crate::store::{NewKey, Store};

pub(crate) struct Keystore {
    shared: Arc<Shared>,
    /// Read by all work that is under way. Work whose caller has gone goes on, and has the store open.
    working: Arc<RwLock<()>>,
}

struct Shared {
    name: String,
    store: Arc<Store>,
}

impl Keystore {
    pub(crate) fn new(name: String, store: Store) -> Self {
        let shared = Arc::new(Shared { name, store: Arc::new(store) });
        Self { shared, working: Arc::default() }
    }

    /// The store waits for the disk: that must not happen on the node's runtime threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let working = Arc::clone(&self.working).read_owned().await;
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            // Let go of after the store.
            let _working = working;
            let shared = shared;
            work(&shared)
        });
        let done = done.await;
        let done = done.map_err(|cause| {
            BackendError::Unavailable(Failure::because("the store's work was cut off", cause))
        })?;
        Ok(done?)
    }
}

impl Shared {
    fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, StoreError> {
        let mut versions = self.store.records(&spec.id)?;
        if versions.is_empty() {
            match self.make(spec) {
                // Somebody else has made it meanwhile.
                Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
                Err(error) => return Err(error),
            }
            versions = self.store.records(&spec.id)?;
        }
        if let Some(found) = versions.iter().find(|record| record.info.key_type != spec.key_type) {
            let (id, expected, found) = (spec.id.clone(), spec.key_type, found.info.key_type);
            return Err(StoreError::TypeMismatch { id, expected, found });
        }
        if let (Some(expected), Some(newest)) = (&spec.derivation, versions.last())
            && newest.info.derivation.as_ref() != Some(expected)
        {
            let (id, expected) = (spec.id.clone(), expected.clone());
            let found = newest.info.derivation.clone();
            return Err(StoreError::OtherDerivation { id, expected, found });
        }
        self.registered(&spec.id, versions)
    }

    fn make(&self, spec: &KeySpec) -> Result<(), StoreError> {
        let new = NewKey::new(spec.id.clone(), spec.key_type);
        match (&spec.derivation, spec.if_missing) {
            (Some(derivation), _) => self.store.derive(&new, derivation).map(drop),
            (None, IfMissing::Generate) => self.store.generate(&[new]).map(drop),
            (None, IfMissing::Fail) => Err(StoreError::NotFound(spec.id.clone())),
        }
    }

    /// A key of these versions, the newest last.
    fn registered(
        &self,
        id: &KeyId,
        mut versions: Vec<Record>,
    ) -> Result<RegisteredKey, StoreError> {
        let newest = versions.pop().ok_or_else(|| StoreError::NotFound(id.clone()))?;
        let newest = newest.unless_destroyed()?;
        let info = newest.info.key_info(&self.name)?;
        let signer = |record: &Record, public_key| -> Result<Signer, StoreError> {
            let signer = StoredSigner::new(Arc::clone(&self.store), record, public_key)?;
            Ok(Signer::Local(Arc::new(signer)))
        };
        let in_use = versions.iter().filter(|record| !record.info.flags.retired);
        let older = in_use.map(|record| {
            let signer = signer(record, record.info.public_key()?)?;
            Ok(OlderVersion { version: record.info.version, signer })
        });
        let older = older.collect::<Result<_, StoreError>>()?;
        let signer = signer(&newest, info.public_key.clone())?;
        Ok(RegisteredKey::new(info, signer).with_older(older))
    }

    /// Up to `limit` keys from behind `after` on. Destroyed ones are none.
    fn list(&self, mut after: Option<KeyId>, limit: usize) -> Result<Vec<KeyInfo>, StoreError> {
        let mut infos = Vec::new();
        loop {
            let page = self.store.page(after.as_ref(), limit - infos.len())?;
            let Some(last) = page.last() else { return Ok(infos) };
            after = Some(last.id.clone());
            for key in &page {
                match key.key_info(&self.name) {
                    Err(StoreError::Destroyed(_)) => {}
                    info => infos.push(info?),
                }
            }
            if infos.len() == limit {
                return Ok(infos);
            }
        }
    }

    fn info(&self, changed: Result<crate::StoredKey, StoreError>) -> Result<KeyInfo, StoreError> {
        changed?.key_info(&self.name)
    }
}

#[async_trait]
impl Backend for Keystore {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        let spec = spec.clone();
        self.blocking(move |shared| shared.register(&spec)).await
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let page = page.clone();
        self.blocking(move |shared| {
            let infos = shared.list(page.after.clone(), page.limit.max(1).saturating_add(1))?;
            Ok(KeyPage::collect(&page, &infos))
        })
        .await
    }

    async fn health(&self) -> Health {
        match self.shared.store.failure() {
            Some(failure) => {
                Health::new(HealthLevel::Degraded, format!("the last change failed: {failure}"))
            }
            None => Health::ok(),
        }
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| {
            shared.store.rotate(&id)?;
            shared.registered(&id, shared.store.records(&id)?)
        })
        .await
    }

    async fn disable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| shared.info(shared.store.disable(&id))).await
    }

    async fn enable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| shared.info(shared.store.enable(&id))).await
    }

    async fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<KeyInfo, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| shared.info(shared.store.schedule_delete(&id, wait))).await
    }

    async fn cancel_delete(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| shared.info(shared.store.cancel_delete(&id))).await
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), BackendError> {
        let id = id.clone();
        self.blocking(move |shared| shared.store.destroy(&id).map(drop)).await
    }

    /// Waits for work that nobody waits for any more: whoever opens the store next would find it in use.
    async fn close(&self) {
        drop(self.working.write().await);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures::FutureExt;
    use kms_secrets::SecretBytes;
    use tempfile::TempDir;

    use super::*;
    use crate::UnlockSecret;

    /// Ten times as long as who opens a store waits for its lock.
    const SLOW: Duration = Duration::from_secs(1);

    #[tokio::test(flavor = "multi_thread")]
    async fn a_closed_store_can_be_opened_though_somebody_gave_up() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let unlock = UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]));
        let backend = Keystore::new("store".into(), Store::create(&path, &unlock).unwrap());
        let given_up = backend.blocking(|_| {
            thread::sleep(SLOW);
            Ok(())
        });
        assert!(given_up.now_or_never().is_none());
        backend.close().await;
        drop(backend);
        Store::open(&path, &unlock).unwrap();
    }
}
