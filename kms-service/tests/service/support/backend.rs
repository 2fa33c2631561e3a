//! A backend that does what its script says. It gives no security: its secrets follow from the keys'
//! ids.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, Failure, Health, IfMissing,
    KeyCapability, KeyInfo, KeyPage, KeySpec, KeyState, OpenContext, Operation, PageRequest,
    RegisteredKey, Signer, SoftwareSigner, SourceUse, async_trait,
};
use kms_keys::{KeyId, KeyType};
use serde::Deserialize;

use super::script::{Act, Lie, Script, Stored, key_of};
use super::signer::FakeSigner;

/// The fake's section. What it can do is all there is, unless the section says less.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FakeSettings {
    /// The key types that it holds; left out: all.
    only: Option<Vec<KeyType>>,
    /// Whether it reads its secrets from sources.
    needs_source: bool,
    /// Whether it imports what sources hold.
    imports: bool,
    /// Whether it holds keys and signs, and can do nothing else.
    plain: bool,
    /// What it does about keys that are missing, unless they say.
    if_missing: IfMissing,
    #[serde(skip)]
    pub script: Script,
}

struct Fake {
    name: String,
    script: Script,
    registered: std::sync::Mutex<std::collections::BTreeMap<KeyId, KeyType>>,
}

#[async_trait]
impl BackendSettings for FakeSettings {
    fn capabilities(&self) -> Capabilities {
        let held = self.only.as_deref().unwrap_or(KeyType::ALL);
        let keys = held
            .iter()
            .map(|&key_type| KeyCapability::new(key_type, key_type.schemes().iter().copied()));
        let source = match (self.needs_source, self.imports) {
            (true, _) => SourceUse::Required,
            (false, true) => SourceUse::Optional,
            (false, false) => SourceUse::Refused,
        };
        let all = [
            Operation::Generate,
            Operation::Derive,
            Operation::Rotate,
            Operation::Disable,
            Operation::Enable,
            Operation::ScheduleDelete,
            Operation::CancelDelete,
            Operation::Execute,
            Operation::Aggregate,
        ];
        let operations = all.into_iter().filter(|_| !self.plain);
        Capabilities::new(keys, source, operations)
    }

    fn if_missing(&self) -> IfMissing {
        self.if_missing
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        self.script.perform(Act::Open).await?;
        Ok(Arc::new(Fake {
            name: context.name.clone(),
            script: self.script.clone(),
            registered: std::sync::Mutex::default(),
        }))
    }
}

impl Fake {
    fn key(&self, id: &KeyId, stored: Stored, lie: Option<Lie>) -> RegisteredKey {
        let key_type = self.registered.lock().unwrap()[id];
        let signer = Arc::new(FakeSigner {
            id: id.clone(),
            signer: SoftwareSigner::new(key_of(id, key_type, stored.version)),
            script: self.script.clone(),
        });
        let signer =
            if self.script.is_remote(id) { Signer::Remote(signer) } else { Signer::Local(signer) };
        RegisteredKey::new(self.info(id, stored, lie), signer)
    }

    fn info(&self, id: &KeyId, stored: Stored, lie: Option<Lie>) -> KeyInfo {
        let key_type = self.registered.lock().unwrap()[id];
        let public_key = |version| key_of(id, key_type, version).public_key();
        let mut info = KeyInfo::new(id.clone(), public_key(stored.version), self.name.as_str());
        info.version = stored.version;
        info.state = stored.state;
        match lie {
            Some(Lie::Id) => info.id = KeyId::new("another").unwrap(),
            Some(Lie::KeyType) => {
                info.key_type = match key_type {
                    KeyType::Ed25519 => KeyType::Secp256k1,
                    _ => KeyType::Ed25519,
                };
            }
            Some(Lie::PublicKey) => info.public_key = public_key(stored.version + 1),
            Some(Lie::State) => {
                info.state = match stored.state {
                    KeyState::Active => KeyState::Disabled,
                    _ => KeyState::Active,
                };
            }
            None => {}
        }
        info
    }

    async fn change(
        &self,
        id: &KeyId,
        change: impl FnOnce(&mut Stored) + Send,
    ) -> Result<(Stored, Option<Lie>), BackendError> {
        let lie = self.script.perform(Act::Change(id.clone())).await?;
        Ok((self.script.change(id, change), lie))
    }

    async fn set(&self, id: &KeyId, state: KeyState) -> Result<KeyInfo, BackendError> {
        let (stored, lie) = self.change(id, |stored| stored.state = state).await?;
        Ok(self.info(id, stored, lie))
    }
}

#[async_trait]
impl Backend for Fake {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        let lie = self.script.perform(Act::Register(spec.id.clone())).await?;
        let generate = spec.if_missing == IfMissing::Generate;
        let stored = self.script.load(&spec.id, generate).ok_or_else(|| {
            BackendError::NotFound(Failure::new(format!("the script has no key {}", spec.id)))
        })?;
        let mut registered = self.registered.lock().unwrap();
        registered.insert(spec.id.clone(), spec.key_type);
        drop(registered);
        Ok(self.key(&spec.id, stored, lie))
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        Ok(KeyPage::collect(page, []))
    }

    async fn health(&self) -> Health {
        match self.script.perform(Act::Health).await {
            Ok(_) => Health::ok(),
            Err(error) => Health::new(kms_backend::HealthLevel::Degraded, error.to_string()),
        }
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        let (stored, lie) = self.change(id, |stored| stored.version += 1).await?;
        Ok(self.key(id, stored, lie))
    }

    async fn disable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.set(id, KeyState::Disabled).await
    }

    async fn enable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.set(id, KeyState::Active).await
    }

    async fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<KeyInfo, BackendError> {
        let not_before = SystemTime::UNIX_EPOCH + wait;
        self.set(id, KeyState::PendingDeletion { not_before }).await
    }

    async fn cancel_delete(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.set(id, KeyState::Active).await
    }

    async fn close(&self) {
        let _ = self.script.perform(Act::Close).await;
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.script.record(Act::Drop);
    }
}
