//! One token as a backend of the key management service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kms_backend::{
    Backend, BackendError, Failure, Health, IfMissing, KeyInfo, KeyPage, KeySpec, OlderVersion,
    OpenContext, Operation, PageRequest, RegisteredKey, Signer, async_trait,
};
use kms_backend_remote::{Expected, HealthWatch};
use kms_keys::KeyId;

use crate::Pkcs11Settings;
use crate::connection::Connection;
use crate::keys::{self, Found};
use crate::shared::{Shared, absent};
use crate::signer::TokenSigner;

pub(crate) struct Pkcs11 {
    shared: Arc<Shared>,
    health: HealthWatch,
}

impl Pkcs11 {
    pub(crate) async fn open(
        settings: &Pkcs11Settings,
        context: &OpenContext,
    ) -> Result<Self, BackendError> {
        let shared = Arc::new(Shared::open(settings, context).await?);
        // A module that is none, a token that isn't there or a wrong PIN ends the start.
        shared.ask("open", None, Connection::ping).await?;
        let (interval, patience) = (settings.remote.health_interval, settings.remote.timeout);
        let probed = Arc::clone(&shared);
        let health = HealthWatch::start(interval, patience, move || {
            let shared = Arc::clone(&probed);
            async move { shared.health().await }
        });
        Ok(Self { shared, health: health.await })
    }

    fn registered(
        &self,
        id: &KeyId,
        versions: &BTreeMap<u32, Found>,
    ) -> Result<RegisteredKey, BackendError> {
        let key = Arc::new(self.shared.wanted(id));
        let signer = |version: u32, found: &Found| {
            let expected = Expected {
                id: id.clone(),
                backend: self.shared.remote.backend().to_owned(),
                public_key: found.public_key.clone(),
                verify: self.shared.remote.settings().verify,
            };
            let (shared, expected) = (Arc::clone(&self.shared), Arc::new(expected));
            let key = Arc::clone(&key);
            Signer::Remote(Arc::new(TokenSigner { shared, expected, key, version }))
        };
        let mut newest_first = versions.iter().rev();
        let (version, newest) = newest_first.next().ok_or_else(|| absent(&key))?;
        let mut info =
            KeyInfo::new(id.clone(), newest.public_key.clone(), self.shared.remote.backend());
        info.version = *version;
        let older = newest_first.map(|(version, found)| OlderVersion {
            version: *version,
            signer: signer(*version, found),
        });
        Ok(RegisteredKey::new(info, signer(*version, newest)).with_older(older.collect()))
    }
}

#[async_trait]
impl Backend for Pkcs11 {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        if spec.derivation.is_some() {
            return Err(BackendError::Unsupported(Operation::Derive));
        }
        let key = self.shared.wanted(&spec.id);
        let mut found = self.shared.look(&spec.id).await?;
        if found.is_empty() {
            found = match (&key.object, &spec.source, spec.if_missing) {
                (Some(_), ..) | (None, None, IfMissing::Fail) => return Err(absent(&key)),
                (None, Some(source), _) => self.shared.import(spec, source).await?,
                (None, None, IfMissing::Generate) => {
                    self.shared.generate(&spec.id, spec.key_type, 1).await?
                }
            };
        }
        if let Some(other) = found.values().find(|found| found.key_type != spec.key_type) {
            return Err(BackendError::WrongSecret(Failure::new(format!(
                "key {} is there as a {} key, and not of type {}",
                spec.id, other.key_type, spec.key_type
            ))));
        }
        if key.object.is_some() {
            self.shared.prove(&key, &found).await?;
        }
        self.registered(&spec.id, &found)
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let named = Arc::clone(&self.shared.named);
        let ids = move |connection: &mut Connection| keys::ids(connection, &named);
        let ids = self.shared.ask("list", None, ids).await?;
        let wanted = ids.into_iter().filter(|id| page.after.as_ref().is_none_or(|seen| id > seen));
        let mut infos = Vec::new();
        for id in wanted {
            if infos.len() > page.limit.max(1) {
                break;
            }
            let key = self.shared.wanted(&id);
            let look = move |connection: &mut Connection| keys::look(connection, &key);
            let found = self.shared.ask("look", Some(&id), look).await;
            match found.and_then(|found| self.registered(&id, &found)) {
                Ok(key) => infos.push(key.info),
                // Destroyed meanwhile, or no key of ours.
                Err(
                    BackendError::NotFound(_)
                    | BackendError::Misconfigured(_)
                    | BackendError::Corrupt(_),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(KeyPage::collect(page, &infos))
    }

    async fn health(&self) -> Health {
        self.health.last()
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        self.shared.refuse_named(id, "rotated")?;
        let found = self.shared.look(id).await?;
        let (version, newest) =
            found.last_key_value().ok_or_else(|| absent(&self.shared.wanted(id)))?;
        let next = version + 1;
        let found = self.shared.generate(id, newest.key_type, next).await?;
        self.registered(id, &found)
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), BackendError> {
        self.shared.refuse_named(id, "destroyed")?;
        let (key, seen) = (id.clone(), Arc::new(AtomicBool::new(false)));
        let noted = Arc::clone(&seen);
        let destroy = move |connection: &mut Connection| keys::destroy(connection, &key, &noted);
        self.shared.ask("destroy", Some(id), destroy).await?;
        let was_there = seen.load(Ordering::Acquire);
        if was_there { Ok(()) } else { Err(absent(&self.shared.wanted(id))) }
    }

    async fn close(&self) {
        self.health.close().await;
        self.shared.close().await;
    }
}
