//! What an open backend and its signers share: the way to the token, and what is done there.

use std::collections::BTreeMap;
use std::sync::Arc;

use kms_backend::{BackendError, ErrorChain, Failure, Health, HealthLevel, KeySpec, OpenContext};
use kms_backend_remote::{Call, Remote};
use kms_keys::{KeyId, KeyType};
use kms_secrets::{SecretSource, Shielded};
use tokio::sync::Mutex;

use crate::Pkcs11Settings;
use crate::connection::Connection;
use crate::import::Imported;
use crate::keys::{self, Found, Wanted};
use crate::make::{NewKey, make};
use crate::named::KeyObject;
use crate::pair::NewPair;
use crate::token::Token;
use crate::workers::{MAX_HUNG, Workers};

/// What signers need of the backend.
pub(crate) struct Shared {
    pub(crate) remote: Arc<Remote>,
    pub(crate) workers: Workers,
    /// Keys that are found by names of their own.
    pub(crate) named: Arc<BTreeMap<KeyId, KeyObject>>,
    /// Held while a key is made: one node at least doesn't make one twice.
    making: Mutex<()>,
}

impl Shared {
    /// Reads the PIN. The module is not touched yet.
    pub(crate) async fn open(
        settings: &Pkcs11Settings,
        context: &OpenContext,
    ) -> Result<Self, BackendError> {
        let (settings, context) = (settings.clone(), context.clone());
        let opening = tokio::task::spawn_blocking(move || Self::new(&settings, &context));
        opening.await.map_err(|cause| {
            BackendError::Unavailable(Failure::because("opening was cut off", cause))
        })?
    }

    fn new(settings: &Pkcs11Settings, context: &OpenContext) -> Result<Self, BackendError> {
        let remote =
            Remote::open(&context.name, &settings.remote, &context.base_dir).map(Arc::new)?;
        let pin = settings.pin.clone().relative_to(&context.base_dir).read();
        let pin = pin.map_err(|cause| {
            BackendError::Misconfigured(Failure::because("the PIN can't be read", cause))
        })?;
        let pin = Shielded::seal(pin.expose()).map_err(|cause| {
            let what = format!("the PIN can't be shielded: {}", ErrorChain(&cause));
            BackendError::Unavailable(Failure::new(what))
        })?;
        let module = context.base_dir.join(&settings.module);
        let token = Token::new(module, settings.token.clone(), pin, Arc::clone(&remote));
        // Before the try is given up from outside.
        let patience = settings.remote.timeout * 9 / 10;
        let workers = Workers::new(token, settings.sessions, patience);
        let named = Arc::new(settings.keys.clone());
        Ok(Self { remote, workers, named, making: Mutex::default() })
    }

    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: Option<&KeyId>,
        work: impl Fn(&mut Connection) -> Result<T, BackendError> + Clone + Send + 'static,
    ) -> Result<T, BackendError> {
        let call = Call { operation, key: key.map(KeyId::as_str), algorithm: None };
        self.remote.retried(&call, || self.workers.ask(work.clone())).await
    }

    pub(crate) fn wanted(&self, id: &KeyId) -> Wanted {
        Wanted { id: id.clone(), object: self.named.get(id).cloned() }
    }

    pub(crate) async fn look(&self, id: &KeyId) -> Result<BTreeMap<u32, Found>, BackendError> {
        let key = self.wanted(id);
        self.ask("look", Some(id), move |connection| keys::look_closely(connection, &key)).await
    }

    /// Whether a key that others made signs as its public key says. Warns if it may leave the token.
    pub(crate) async fn prove(
        &self,
        key: &Wanted,
        found: &BTreeMap<u32, Found>,
    ) -> Result<(), BackendError> {
        let Some(found) = found.get(&1) else { return Err(absent(key)) };
        let (wanted, public_key) = (key.clone(), found.public_key.clone());
        let prove =
            move |connection: &mut Connection| keys::prove(connection, &wanted, &public_key);
        self.ask("sign", Some(&key.id), prove).await?;
        if !found.guarded {
            tracing::warn!(
                backend = self.remote.backend(),
                %key,
                "this key may leave the token: its `CKA_SENSITIVE` is false, or its `CKA_EXTRACTABLE` true"
            );
        }
        Ok(())
    }

    pub(crate) fn refuse_named(&self, id: &KeyId, what: &str) -> Result<(), BackendError> {
        let Some(object) = self.named.get(id) else { return Ok(()) };
        Err(BackendError::Denied(Failure::new(format!(
            "the settings say that key {id} is the one with {object}: it is {what} where it was made"
        ))))
    }

    /// Imports the key, unless somebody else makes it at the same time.
    pub(crate) async fn import(
        &self,
        spec: &KeySpec,
        source: &SecretSource,
    ) -> Result<BTreeMap<u32, Found>, BackendError> {
        let (place, key_type) = (source.clone(), spec.key_type);
        let reading = tokio::task::spawn_blocking(move || Imported::read(&place, key_type));
        let imported = reading.await.map_err(|cause| {
            BackendError::Unavailable(Failure::because("reading the secret was cut off", cause))
        })??;
        let (id, public_key) = (&spec.id, imported.public_key.clone());
        if let Some(pinned) = spec.public_key.as_ref().filter(|pinned| **pinned != public_key) {
            return Err(BackendError::WrongSecret(Failure::new(format!(
                "{source} holds the key with public key {public_key}, and key {id} is to have \
                 {pinned}: it is not imported"
            ))));
        }
        let imported = Some(Arc::new(imported));
        let found =
            self.make_pair(NewPair { id: id.clone(), key_type, version: 1, imported }).await?;
        let backend = self.remote.backend();
        if found.values().any(|found| found.public_key == public_key) {
            tracing::info!(backend, key = %id, %source, "imported into the token: its `source` can be removed now");
        } else {
            tracing::warn!(backend, key = %id, %source, "made by somebody else meanwhile: it is another than that of its `source`");
        }
        Ok(found)
    }

    pub(crate) async fn generate(
        &self,
        id: &KeyId,
        key_type: KeyType,
        version: u32,
    ) -> Result<BTreeMap<u32, Found>, BackendError> {
        self.make_pair(NewPair { id: id.clone(), key_type, version, imported: None }).await
    }

    /// Makes this version of the key, unless it is there.
    async fn make_pair(&self, key: NewPair) -> Result<BTreeMap<u32, Found>, BackendError> {
        let algorithm = Some(key.key_type.as_str());
        let operation = if key.imported.is_some() { "import" } else { "generate" };
        let call = Call { operation, key: Some(key.id.as_str()), algorithm };
        let look = || async {
            let found = self.look(&key.id).await?;
            Ok(Some(found).filter(|found| found.contains_key(&key.version)))
        };
        self.make(&call, &key, look).await
    }

    /// Makes a key unless `look` says that it is there, which is asked after a try of unknown outcome, too.
    pub(crate) async fn make<T, L>(
        &self,
        call: &Call<'_>,
        key: &(impl NewKey + Clone + Send + 'static),
        look: impl FnMut() -> L,
    ) -> Result<T, BackendError>
    where
        L: Future<Output = Result<Option<T>, BackendError>>,
    {
        let _making = self.making.lock().await;
        let act = || {
            let key = key.clone();
            self.workers.ask(move |connection| make(connection, &key))
        };
        self.remote.reconciled(call, look, act).await
    }

    /// Gives up what is under way and ends the threads.
    pub(crate) async fn close(&self) {
        self.remote.close().await;
        self.workers.close().await;
    }

    pub(crate) async fn health(&self) -> Health {
        let hung = self.workers.hung();
        if hung >= MAX_HUNG {
            let reason = format!("the module has kept {hung} threads and is not called any more");
            return Health::new(HealthLevel::Failed, reason);
        }
        match self.remote.once(&Call::HEALTH, || self.workers.ask(Connection::ping)).await {
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

pub(crate) fn absent(key: &Wanted) -> BackendError {
    let id = &key.id;
    BackendError::NotFound(Failure::new(match &key.object {
        Some(object) => {
            format!("there is no private key with {object} in the token, which key {id} would be")
        }
        None => format!("there is no private key with label {id} in the token"),
    }))
}
