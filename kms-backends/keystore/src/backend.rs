//! The store as a backend of the key management service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kms_backend::{
    Backend, BackendError, Failure, Health, IfMissing, KeyInfo, KeyPage, KeySpec, OlderVersion,
    PageRequest, RegisteredKey, Signer, async_trait,
};
use kms_keys::{KeyId, SecretKey};

use crate::error::StoreError;
use crate::format::record::{Record, RecordInfo, RecordState};
use crate::signer::StoredSigner;
use crate::store::{Change, Store};

pub(crate) struct Keystore {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    store: Arc<Store>,
}

impl Keystore {
    pub(crate) fn new(name: String, store: Store) -> Self {
        Self { shared: Arc::new(Shared { name, store: Arc::new(store) }) }
    }

    /// The store waits for the disk: that must not happen on the node's runtime threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        let done = done.map_err(|cause| {
            BackendError::Unavailable(Failure::because("the store's work was cut off", cause))
        })?;
        Ok(done?)
    }
}

impl Shared {
    fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, StoreError> {
        let mut versions = self.store.versions(&spec.id)?;
        if versions.is_empty() {
            if spec.if_missing == IfMissing::Fail {
                return Err(StoreError::NotFound(spec.id.clone()));
            }
            versions = match self.generate(spec) {
                // Somebody else has generated it meanwhile.
                Err(StoreError::AlreadyExists(id)) => self.store.versions(&id)?,
                generated => vec![generated?],
            };
        }
        let found = versions.iter().find(|record| record.info.key_type != spec.key_type);
        if let Some(RecordInfo { id, key_type, .. }) = found.map(|record| &record.info) {
            let (id, expected, found) = (id.clone(), spec.key_type, *key_type);
            return Err(StoreError::TypeMismatch { id, expected, found });
        }
        self.registered(&spec.id, versions)
    }

    fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, StoreError> {
        let mut versions = self.store.versions(id)?;
        let newest = versions.last().ok_or_else(|| StoreError::NotFound(id.clone()))?;
        if let RecordState::PendingDeletion { .. } = newest.info.state {
            let (state, advice) = PENDING;
            return Err(StoreError::State { id: id.clone(), state, advice });
        }
        let secret = SecretKey::generate(newest.info.key_type).map_err(StoreError::Generate)?;
        let info = RecordInfo {
            version: newest.info.version.saturating_add(1),
            public_key: secret.public_key().to_hex(),
            created: seconds(SystemTime::now()),
            ..newest.info.clone()
        };
        let record = self.store.seal(info, &secret)?;
        self.store.commit(&[Change { old: None, new: Some(&record) }])?;
        versions.push(record);
        self.registered(id, versions)
    }

    /// A key of these versions, the newest last.
    fn registered(
        &self,
        id: &KeyId,
        mut versions: Vec<Record>,
    ) -> Result<RegisteredKey, StoreError> {
        let newest = versions.pop().ok_or_else(|| StoreError::NotFound(id.clone()))?;
        let info = newest.info.key_info(&self.name)?;
        let signer = |record: Record, public_key| -> Signer {
            let signer = StoredSigner::new(Arc::clone(&self.store), record, public_key);
            Signer::Local(Arc::new(signer))
        };
        let older = versions.into_iter().map(|record| {
            let (version, info) = (record.info.version, record.info.key_info(&self.name)?);
            Ok(OlderVersion { version, signer: signer(record, info.public_key) })
        });
        let older = older.collect::<Result<_, StoreError>>()?;
        let signer = signer(newest, info.public_key.clone());
        Ok(RegisteredKey::new(info, signer).with_older(older))
    }

    fn generate(&self, spec: &KeySpec) -> Result<Record, StoreError> {
        let secret = SecretKey::generate(spec.key_type).map_err(StoreError::Generate)?;
        let info = RecordInfo {
            id: spec.id.clone(),
            key_type: spec.key_type,
            version: 1,
            public_key: secret.public_key().to_hex(),
            state: RecordState::Active,
            created: seconds(SystemTime::now()),
            labels: BTreeMap::new(),
        };
        let record = self.store.seal(info, &secret)?;
        self.store.commit(&[Change { old: None, new: Some(&record) }])?;
        Ok(record)
    }

    /// Changes a key's state, if `next` says that it may be changed.
    fn set_state(
        &self,
        id: &KeyId,
        next: impl FnOnce(RecordState) -> Result<RecordState, (&'static str, &'static str)>,
    ) -> Result<KeyInfo, StoreError> {
        let record =
            self.store.versions(id)?.pop().ok_or_else(|| StoreError::NotFound(id.clone()))?;
        let state = next(record.info.state).map_err(|(state, advice)| StoreError::State {
            id: id.clone(),
            state,
            advice,
        })?;
        let info = RecordInfo { state, ..record.info.clone() };
        let changed = self.store.reseal(&record, info)?;
        self.store.commit(&[Change { old: Some(&record), new: Some(&changed) }])?;
        changed.info.key_info(&self.name)
    }
}

/// What is said of a key whose deletion is scheduled.
const PENDING: (&str, &str) = ("scheduled for deletion", "cancel the deletion first");

/// A key whose deletion is scheduled stays so until that is cancelled.
fn unless_pending(
    state: RecordState,
    next: RecordState,
) -> Result<RecordState, (&'static str, &'static str)> {
    match state {
        RecordState::PendingDeletion { .. } => Err(PENDING),
        RecordState::Active | RecordState::Disabled => Ok(next),
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
            let limit = page.limit.max(1);
            let records = shared.store.page(page.after.as_ref(), limit.saturating_add(1))?;
            let infos = records.iter().map(|info| info.key_info(&shared.name));
            let infos = infos.collect::<Result<Vec<_>, _>>()?;
            Ok(KeyPage::collect(&page, &infos))
        })
        .await
    }

    async fn health(&self) -> Health {
        Health::ok()
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| shared.rotate(&id)).await
    }

    async fn disable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| {
            shared.set_state(&id, |state| unless_pending(state, RecordState::Disabled))
        })
        .await
    }

    async fn enable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| {
            shared.set_state(&id, |state| unless_pending(state, RecordState::Active))
        })
        .await
    }

    async fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<KeyInfo, BackendError> {
        let id = id.clone();
        let not_before = seconds(SystemTime::now()).saturating_add(wait.as_secs());
        let state = RecordState::PendingDeletion { not_before };
        self.blocking(move |shared| shared.set_state(&id, |now| unless_pending(now, state))).await
    }

    async fn cancel_delete(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        let id = id.clone();
        self.blocking(move |shared| {
            shared.set_state(&id, |state| match state {
                RecordState::PendingDeletion { .. } => Ok(RecordState::Disabled),
                RecordState::Active => Err(("active", "no deletion is scheduled")),
                RecordState::Disabled => Err(("disabled", "no deletion is scheduled")),
            })
        })
        .await
    }

    async fn close(&self) {}
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
