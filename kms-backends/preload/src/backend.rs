//! The opened backend: it remembers which keys it has loaded, and nothing else.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kms_backend::{
    Backend, BackendError, Failure, Health, IfMissing, KeyInfo, KeyPage, KeySpec, Operation,
    PageRequest, RegisteredKey, Signer, SoftwareSigner, async_trait, read_key,
};
use kms_keys::KeyId;
use kms_secrets::on_wiped_stack;

pub(crate) struct Preload {
    name: String,
    loaded: Mutex<BTreeMap<KeyId, KeyInfo>>,
}

impl Preload {
    pub(crate) fn new(name: String) -> Self {
        Self { name, loaded: Mutex::default() }
    }

    fn loaded(&self) -> MutexGuard<'_, BTreeMap<KeyId, KeyInfo>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for Preload {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        if spec.derivation.is_some() {
            return Err(BackendError::Unsupported(Operation::Derive));
        }
        let Some(source) = spec.source.clone() else {
            return Err(match spec.if_missing {
                IfMissing::Generate => BackendError::Unsupported(Operation::Generate),
                IfMissing::Fail => BackendError::NotFound(Failure::new(format!(
                    "no source says where the secret of the {} key {} is",
                    spec.key_type, spec.id
                ))),
            });
        };
        let key_type = spec.key_type;
        let read = move || on_wiped_stack(|| read_key(&source, key_type));
        let read = tokio::task::spawn_blocking(read).await;
        let key = read.map_err(|cause| {
            BackendError::Unavailable(Failure::because("reading the secret was cut off", cause))
        })??;

        let signer = SoftwareSigner::new(key);
        let signer = Signer::Local(Arc::new(signer));
        let info = KeyInfo::new(spec.id.clone(), signer.public_key().clone(), self.name.as_str());
        self.loaded().insert(spec.id.clone(), info.clone());
        Ok(RegisteredKey::new(info, signer))
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let loaded = self.loaded();
        let keys = loaded.range::<KeyId, _>((page.start(), Bound::Unbounded));
        Ok(KeyPage::collect(page, keys.map(|(_, info)| info)))
    }

    async fn health(&self) -> Health {
        Health::ok()
    }

    async fn close(&self) {}
}
