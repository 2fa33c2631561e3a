//! One token as a backend of the key management service.

use std::collections::BTreeMap;
use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, ErrorChain, Failure, Health, HealthLevel, IfMissing, KeyInfo, KeyPage,
    KeySpec, OlderVersion, OpenContext, Operation, PageRequest, RegisteredKey, Signer, async_trait,
};
use kms_backend_remote::{Call, Expected, HealthWatch, Remote};
use kms_keys::{KeyId, KeyType};
use kms_secrets::Shielded;
use tokio::sync::Mutex;

use crate::Pkcs11Settings;
use crate::connection::Connection;
use crate::keys::{self, Found};
use crate::signer::TokenSigner;
use crate::token::Token;
use crate::workers::{MAX_HUNG, Workers};

pub(crate) struct Pkcs11 {
    shared: Arc<Shared>,
    health: HealthWatch,
}

/// What signers need of the backend.
pub(crate) struct Shared {
    pub(crate) remote: Remote,
    pub(crate) workers: Workers,
    /// Held while a key is made: one node at least doesn't make one twice.
    making: Mutex<()>,
}

impl Pkcs11 {
    pub(crate) async fn open(
        settings: &Pkcs11Settings,
        context: &OpenContext,
    ) -> Result<Self, BackendError> {
        let shared = {
            let (settings, context) = (settings.clone(), context.clone());
            let opening = tokio::task::spawn_blocking(move || Shared::new(&settings, &context));
            opening.await.map_err(|cause| {
                BackendError::Unavailable(Failure::because("opening was cut off", cause))
            })??
        };
        let shared = Arc::new(shared);
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
        let signer = |version: u32, found: &Found| {
            let expected = Expected {
                id: id.clone(),
                backend: self.shared.remote.backend().to_owned(),
                public_key: found.public_key.clone(),
                verify: self.shared.remote.settings().verify,
            };
            let (shared, expected) = (Arc::clone(&self.shared), Arc::new(expected));
            Signer::Remote(Arc::new(TokenSigner { shared, expected, version }))
        };
        let mut newest_first = versions.iter().rev();
        let (version, newest) = newest_first.next().ok_or_else(|| absent(id))?;
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

impl Shared {
    fn new(settings: &Pkcs11Settings, context: &OpenContext) -> Result<Self, BackendError> {
        let remote = Remote::open(&context.name, &settings.remote, &context.base_dir)?;
        let pin = settings.pin.clone().relative_to(&context.base_dir).read();
        let pin = pin.map_err(|cause| {
            BackendError::Misconfigured(Failure::because("the PIN can't be read", cause))
        })?;
        let pin = Shielded::seal(pin.expose()).map_err(|cause| {
            let what = format!("the PIN can't be shielded: {}", ErrorChain(&cause));
            BackendError::Unavailable(Failure::new(what))
        })?;
        let module = context.base_dir.join(&settings.module);
        let token = Token::new(module, settings.token.clone(), pin);
        // Before the try is given up from outside.
        let patience = settings.remote.timeout * 9 / 10;
        let workers = Workers::new(token, settings.sessions, patience);
        Ok(Self { remote, workers, making: Mutex::default() })
    }

    async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: Option<&KeyId>,
        work: impl Fn(&mut Connection) -> Result<T, BackendError> + Clone + Send + 'static,
    ) -> Result<T, BackendError> {
        let call = Call { operation, key: key.map(KeyId::as_str), algorithm: None };
        self.remote.retried(&call, || self.workers.ask(work.clone())).await
    }

    async fn look(&self, id: &KeyId) -> Result<BTreeMap<u32, Found>, BackendError> {
        let key = id.clone();
        self.ask("look", Some(id), move |connection| keys::look(connection, &key)).await
    }

    /// Makes this version of the key, unless it is there.
    async fn make(
        &self,
        id: &KeyId,
        key_type: KeyType,
        version: u32,
    ) -> Result<BTreeMap<u32, Found>, BackendError> {
        let _making = self.making.lock().await;
        let algorithm = Some(key_type.as_str());
        let call = Call { operation: "generate", key: Some(id.as_str()), algorithm };
        let look = || async {
            let found = self.look(id).await?;
            Ok(Some(found).filter(|found| found.contains_key(&version)))
        };
        let act = || {
            let id = id.clone();
            self.workers.ask(move |connection| keys::make(connection, &id, key_type, version))
        };
        self.remote.reconciled(&call, look, act).await
    }

    async fn health(&self) -> Health {
        let hung = self.workers.hung();
        if hung >= MAX_HUNG {
            let reason = format!("the module has kept {hung} threads and is not called any more");
            return Health::new(HealthLevel::Failed, reason);
        }
        match self.workers.ask(Connection::ping).await {
            Err(error) => {
                let level =
                    if error.is_retryable() { HealthLevel::Failed } else { HealthLevel::Fatal };
                Health::new(level, ErrorChain(&error).to_string())
            }
            Ok(()) if hung > 0 => {
                let reason = format!("the module has kept {hung} of its threads");
                Health::new(HealthLevel::Degraded, reason)
            }
            Ok(()) => Health::ok(),
        }
    }
}

#[async_trait]
impl Backend for Pkcs11 {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        if spec.derivation.is_some() {
            return Err(BackendError::Unsupported(Operation::Derive));
        }
        let mut found = self.shared.look(&spec.id).await?;
        if found.is_empty() {
            if spec.if_missing != IfMissing::Generate {
                return Err(absent(&spec.id));
            }
            found = self.shared.make(&spec.id, spec.key_type, 1).await?;
        }
        if let Some(other) = found.values().find(|found| found.key_type != spec.key_type) {
            return Err(BackendError::WrongSecret(Failure::new(format!(
                "key {} is there as a {} key, and not of type {}",
                spec.id, other.key_type, spec.key_type
            ))));
        }
        self.registered(&spec.id, &found)
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let ids = self.shared.ask("list", None, keys::ids).await?;
        let wanted = ids.into_iter().filter(|id| page.after.as_ref().is_none_or(|seen| id > seen));
        let mut infos = Vec::new();
        for id in wanted {
            if infos.len() > page.limit.max(1) {
                break;
            }
            match self.shared.look(&id).await.and_then(|found| self.registered(&id, &found)) {
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
        let found = self.shared.look(id).await?;
        let (version, newest) = found.last_key_value().ok_or_else(|| absent(id))?;
        let next = version + 1;
        let found = self.shared.make(id, newest.key_type, next).await?;
        self.registered(id, &found)
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), BackendError> {
        let key = id.clone();
        let destroy = move |connection: &mut Connection| keys::destroy(connection, &key);
        if self.shared.ask("destroy", Some(id), destroy).await? { Ok(()) } else { Err(absent(id)) }
    }

    async fn close(&self) {
        self.shared.workers.close().await;
    }
}

fn absent(id: &KeyId) -> BackendError {
    let what = format!("there is no private key with label {id} in the token");
    BackendError::NotFound(Failure::new(what))
}
