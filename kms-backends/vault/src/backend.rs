//! One Transit mount as a backend of the key management service.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use kms_backend::{
    Backend, BackendError, Failure, Health, IfMissing, KeyInfo, KeyPage, KeySpec, KeyState,
    OlderVersion, OpenContext, Operation, PageRequest, RegisteredKey, Signer, async_trait,
};
use kms_backend_remote::{Expected, HealthWatch};
use kms_keys::{KeyId, KeyType};
use tokio::task::JoinHandle;

use crate::VaultSettings;
use crate::health::probe;
use crate::session::Session;
use crate::signer::VaultSigner;
use crate::transit::{Found, Transit, Version};

/// How many keys of a page are read at once.
const AT_ONCE: usize = 8;

pub(crate) struct Vault {
    transit: Arc<Transit>,
    allow_deletion: bool,
    health: HealthWatch,
    keeper: JoinHandle<()>,
}

impl Vault {
    pub(crate) async fn open(
        settings: &VaultSettings,
        context: &OpenContext,
    ) -> Result<Self, BackendError> {
        let session = Session::of(settings, context).await?;
        let keeper = tokio::spawn(Arc::clone(&session).keep());
        let health = {
            let session = Arc::clone(&session);
            let (interval, patience) = (settings.remote.health_interval, settings.remote.timeout);
            HealthWatch::start(interval, patience, move || {
                let session = Arc::clone(&session);
                async move { probe(&session).await }
            })
        };
        let transit = Arc::new(Transit::new(session, settings.mount.clone()));
        let allow_deletion = settings.allow_deletion;
        Ok(Self { transit, allow_deletion, health: health.await, keeper })
    }

    fn backend(&self) -> &str {
        self.transit.session.remote.backend()
    }

    fn registered(&self, id: &KeyId, found: &Found) -> Result<RegisteredKey, BackendError> {
        let signer = |number: u32, version: &Version| {
            let expected = Expected {
                id: id.clone(),
                backend: self.backend().to_owned(),
                public_key: version.public_key.clone(),
                verify: self.transit.session.remote.settings().verify,
            };
            let signer = VaultSigner::new(Arc::clone(&self.transit), expected, number);
            Signer::Remote(Arc::new(signer))
        };
        let mut versions = found.versions.iter().rev();
        let (number, newest) = versions.next().ok_or_else(|| self.transit.absent(id))?;
        let info = self.info(id, *number, newest, found.disabled == Some(true));
        let older = versions.rev().map(|(number, version)| OlderVersion {
            version: *number,
            signer: signer(*number, version),
        });
        Ok(RegisteredKey::new(info, signer(*number, newest)).with_older(older.collect()))
    }

    fn info(&self, id: &KeyId, number: u32, version: &Version, disabled: bool) -> KeyInfo {
        let mut info = KeyInfo::new(id.clone(), version.public_key.clone(), self.backend());
        info.version = number;
        info.created = version.created;
        info.state = if disabled { KeyState::Disabled } else { KeyState::Active };
        info
    }

    async fn change(&self, id: &KeyId, disabled: bool) -> Result<KeyInfo, BackendError> {
        let found = self.transit.set_disabled(id, disabled).await?;
        Ok(self.registered(id, &found)?.info)
    }
}

#[async_trait]
impl Backend for Vault {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        if spec.derivation.is_some() {
            return Err(BackendError::Unsupported(Operation::Derive));
        }
        if spec.key_type != KeyType::Ed25519 {
            let what = format!("key {}: Transit holds no {} keys", spec.id, spec.key_type);
            return Err(BackendError::Misconfigured(Failure::new(what)));
        }
        let found = match self.transit.look(&spec.id).await? {
            Some(found) => found,
            None if spec.if_missing == IfMissing::Generate => self.transit.make(&spec.id).await?,
            None => return Err(self.transit.absent(&spec.id)),
        };
        self.registered(&spec.id, &found)
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let ids = self.transit.ids().await?;
        let limit = page.limit.max(1);
        let wanted = ids.into_iter().filter(|id| page.after.as_ref().is_none_or(|seen| id > seen));
        let looks = wanted.map(|id| async move {
            match self.transit.look(&id).await {
                Ok(Some(found)) => Ok(Some(self.registered(&id, &found)?.info)),
                // Deleted meanwhile, or a key that isn't ours.
                Ok(None) | Err(BackendError::WrongSecret(_)) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let infos = stream::iter(looks).buffered(AT_ONCE).try_filter_map(|info| async { Ok(info) });
        let infos: Vec<_> = infos.take(limit.saturating_add(1)).try_collect().await?;
        Ok(KeyPage::collect(page, &infos))
    }

    async fn health(&self) -> Health {
        self.health.last()
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        let before = self.transit.there(id).await?;
        let after = self.transit.rotate(id, before.latest).await?;
        self.registered(id, &after)
    }

    async fn disable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.change(id, true).await
    }

    async fn enable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.change(id, false).await
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), BackendError> {
        if !self.allow_deletion {
            return Err(BackendError::Unsupported(Operation::Destroy));
        }
        // A server that can't disable keys destroys one that is in use: `allow_deletion` is all there is.
        if self.transit.there(id).await?.disabled == Some(false) {
            let what = self.transit.what("is in use: only a disabled key is destroyed", id);
            return Err(BackendError::Denied(Failure::new(what)));
        }
        self.transit.destroy(id).await
    }

    async fn close(&self) {
        self.keeper.abort();
        self.health.close().await;
        self.transit.session.close().await;
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
