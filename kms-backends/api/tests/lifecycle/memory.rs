//! A backend that keeps keys in memory, with whatever is wrong with it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, Derivation, Failure, Health, IfMissing,
    KeyInfo, KeyPage, KeySpec, KeyState, OlderVersion, OpenContext, Operation, PageRequest,
    RegisteredKey, Signer, SoftwareSigner, SourceUse, async_trait,
};
use kms_keys::{KeyId, KeyType, SecretKey, Seed};
use serde::Deserialize;

use crate::fault::Fault;

/// The name of the one master there is.
pub(crate) const MASTER: &str = "lifecycle/master";

#[derive(Clone, Default, Deserialize)]
pub(crate) struct Settings {
    #[serde(skip)]
    pub(crate) keys: Keys,
    #[serde(skip)]
    pub(crate) fault: Fault,
}

type Keys = Arc<Mutex<BTreeMap<KeyId, Stored>>>;

pub(crate) struct Stored {
    key_type: KeyType,
    /// The secrets of all versions, the newest last.
    secrets: Vec<Vec<u8>>,
    state: KeyState,
    derivation: Option<Derivation>,
    destroyed: bool,
}

struct Memory {
    keys: Keys,
    name: String,
    fault: Fault,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

#[async_trait]
impl BackendSettings for Settings {
    fn capabilities(&self) -> Capabilities {
        use Operation::{
            CancelDelete, Derive, Destroy, Disable, Enable, Execute, Generate, Rotate,
            ScheduleDelete,
        };
        let mut can = vec![Generate, Rotate, Disable, Enable, ScheduleDelete, CancelDelete];
        can.extend([Destroy, Execute]);
        if self.fault != Fault::GeneratesInsteadOfDeriving {
            can.push(Derive);
        }
        Capabilities::software(SourceUse::Refused, can)
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        let mut keys = self.keys.lock().unwrap();
        let is_new = |id: &KeyId| id.as_str().starts_with("lifecycle/new");
        match self.fault {
            Fault::ForgetsGenerated => keys.retain(|id, _| !is_new(id)),
            Fault::ForgetsDestroyed => keys.retain(|_, key| !key.destroyed),
            Fault::DerivesAnotherAfterReopen => {
                let derived = keys.values_mut().filter(|key| key.derivation.is_some());
                derived.for_each(|key| key.secrets = vec![generate(key.key_type)]);
            }
            fault => keys.values_mut().for_each(|key| key.reopen(fault)),
        }
        let (keys, name) = (Arc::clone(&self.keys), context.name.clone());
        Ok(Arc::new(Memory { keys, name, fault: self.fault }))
    }
}

impl Stored {
    fn new(key_type: KeyType, secret: Vec<u8>, derivation: Option<Derivation>) -> Self {
        let (secrets, state) = (vec![secret], KeyState::Active);
        Self { key_type, secrets, state, derivation, destroyed: false }
    }

    fn reopen(&mut self, fault: Fault) {
        match fault {
            Fault::ForgetsRotations => self.secrets.truncate(1),
            Fault::ForgetsStates => self.state = KeyState::Active,
            Fault::RevivesDestroyed => self.destroyed = false,
            Fault::ForgetsDerivations => self.derivation = None,
            _ => {}
        }
    }
}

fn generate(key_type: KeyType) -> Vec<u8> {
    bytes(&SecretKey::generate(key_type).unwrap())
}

fn bytes(key: &SecretKey) -> Vec<u8> {
    key.expose_secret().expose().to_vec()
}

fn not_found(id: &KeyId) -> BackendError {
    BackendError::NotFound(Failure::new(format!("no key {id}")))
}

fn denied(text: &str) -> BackendError {
    BackendError::Denied(Failure::new(text))
}

impl Memory {
    fn keys(&self) -> MutexGuard<'_, BTreeMap<KeyId, Stored>> {
        self.keys.lock().unwrap()
    }

    fn key(&self, id: &KeyId, stored: &Stored) -> RegisteredKey {
        let signer = |secret: &[u8]| {
            let key = SecretKey::from_bytes(stored.key_type, secret).unwrap();
            Signer::Local(Arc::new(SoftwareSigner::new(key)))
        };
        let (newest, older) = stored.secrets.split_last().unwrap();
        let current = signer(newest);
        let mut info = KeyInfo::new(id.clone(), current.public_key().clone(), self.name.as_str());
        info.state = stored.state;
        info.version = match self.fault {
            Fault::RepeatsVersions => 1,
            _ => u32::try_from(stored.secrets.len()).unwrap(),
        };
        let older = (1..).zip(older).map(|(version, secret)| {
            let wrong = self.fault == Fault::OlderSignWithTheNewest;
            OlderVersion { version, signer: signer(if wrong { newest } else { secret }) }
        });
        let older = if self.fault == Fault::ForgetsOlder { Vec::new() } else { older.collect() };
        RegisteredKey::new(info, current).with_older(older)
    }

    /// Whether a key that is registered is there, so that none is to be made.
    fn is_there(&self, stored: &Stored, spec: &KeySpec) -> Result<bool, BackendError> {
        if stored.destroyed {
            let made_anew = match self.fault {
                Fault::GeneratesOverDestroyed => spec.if_missing == IfMissing::Generate,
                Fault::DerivesOverDestroyed => spec.derivation.is_some(),
                _ => false,
            };
            return if made_anew { Ok(false) } else { Err(denied("the key is destroyed")) };
        }
        let takes_any = match self.fault {
            Fault::TakesAnotherDerivation => true,
            Fault::ForgetsDerivations => stored.derivation.is_none(),
            _ => spec.derivation.is_none() || spec.derivation == stored.derivation,
        };
        if takes_any { Ok(true) } else { Err(denied("the key was derived otherwise")) }
    }

    fn derive(&self, key_type: KeyType, derivation: &Derivation) -> Result<Vec<u8>, BackendError> {
        if derivation.master.as_str() != MASTER && self.fault != Fault::IgnoresMaster {
            return Err(not_found(&derivation.master));
        }
        if self.fault == Fault::DerivesAnotherEachTime {
            return Ok(generate(key_type));
        }
        let mut path = derivation.path.clone();
        if self.fault == Fault::IgnoresPath {
            path = crate::path(key_type);
        }
        let seed = Seed::from_bytes(&[9; 64]).unwrap();
        Ok(bytes(&seed.derive(key_type, &path).unwrap()))
    }

    fn set(
        &self,
        id: &KeyId,
        unless_destroyed: bool,
        state: impl FnOnce(KeyState) -> Result<KeyState, BackendError>,
    ) -> Result<KeyInfo, BackendError> {
        let mut keys = self.keys();
        let stored = keys.get_mut(id).ok_or_else(|| not_found(id))?;
        if stored.destroyed && unless_destroyed {
            return Err(denied("the key is destroyed"));
        }
        stored.state = state(stored.state)?;
        Ok(self.key(id, stored).info)
    }

    fn unless_scheduled(&self, state: KeyState, next: KeyState) -> Result<KeyState, BackendError> {
        match state {
            KeyState::PendingDeletion { .. } if self.fault != Fault::EnablesWhatIsScheduled => {
                Err(denied("it is scheduled for deletion"))
            }
            _ => Ok(next),
        }
    }
}

#[async_trait]
impl Backend for Memory {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        let mut keys = self.keys();
        let stored = keys.get(&spec.id);
        let derivation = spec.derivation.clone();
        let derivation = derivation.filter(|_| self.fault != Fault::GeneratesInsteadOfDeriving);
        if !stored.map_or(Ok(false), |stored| self.is_there(stored, spec))? {
            let secret = match &derivation {
                Some(derivation) => self.derive(spec.key_type, derivation)?,
                None if spec.if_missing == IfMissing::Generate => generate(spec.key_type),
                None => return Err(not_found(&spec.id)),
            };
            keys.insert(spec.id.clone(), Stored::new(spec.key_type, secret, derivation));
        }
        Ok(self.key(&spec.id, &keys[&spec.id]))
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let keys = self.keys();
        let infos = keys.range::<KeyId, _>((page.start(), Bound::Unbounded));
        let listed =
            infos.filter(|(_, stored)| !stored.destroyed || self.fault == Fault::ListsDestroyed);
        let infos: Vec<_> = listed.map(|(id, stored)| self.key(id, stored).info).collect();
        Ok(KeyPage::collect(page, &infos))
    }

    async fn health(&self) -> Health {
        Health::ok()
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        let mut keys = self.keys();
        let stored = keys.get_mut(id).ok_or_else(|| not_found(id))?;
        if stored.destroyed && self.fault != Fault::RotatesDestroyed {
            return Err(denied("the key is destroyed"));
        }
        let next = match self.fault {
            Fault::RotatesToTheSameKey => stored.secrets[0].clone(),
            _ => generate(stored.key_type),
        };
        stored.secrets.push(next);
        Ok(self.key(id, stored))
    }

    async fn disable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        match self.fault {
            Fault::DisablesNothing if !self.keys().contains_key(id) => {
                let signer = SoftwareSigner::new(SecretKey::generate(KeyType::Ed25519).unwrap());
                let signer = Signer::Local(Arc::new(signer));
                Ok(KeyInfo::new(id.clone(), signer.public_key().clone(), self.name.as_str()))
            }
            Fault::DoesNotDisable => self.set(id, true, Ok),
            _ => self.set(id, true, |state| self.unless_scheduled(state, KeyState::Disabled)),
        }
    }

    async fn enable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        match self.fault {
            Fault::EnablesDestroyed if self.keys().get(id).is_some_and(|key| key.destroyed) => {
                self.set(id, false, |_| Ok(KeyState::Active))
            }
            _ => self.set(id, true, |state| self.unless_scheduled(state, KeyState::Active)),
        }
    }

    async fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<KeyInfo, BackendError> {
        let wait = if self.fault == Fault::DoesNotWait { Duration::ZERO } else { wait };
        let not_before = SystemTime::now() + wait;
        self.set(id, true, |_| Ok(KeyState::PendingDeletion { not_before }))
    }

    async fn cancel_delete(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        let unless_destroyed = self.fault != Fault::CancelsDestroyed;
        self.set(id, unless_destroyed, |state| match state {
            _ if self.fault == Fault::DoesNotCancel => Ok(state),
            _ => Ok(KeyState::Disabled),
        })
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), BackendError> {
        let mut keys = self.keys();
        let stored = keys.get_mut(id).ok_or_else(|| not_found(id))?;
        let may_be_destroyed = match stored.state {
            KeyState::PendingDeletion { not_before } => {
                self.fault == Fault::DestroysEarly || not_before <= SystemTime::now()
            }
            _ => self.fault == Fault::DestroysUnscheduled,
        };
        if !may_be_destroyed || stored.destroyed {
            return Err(denied("it is not to be destroyed"));
        }
        stored.destroyed = self.fault != Fault::KeepsDestroyed;
        Ok(())
    }

    async fn close(&self) {}
}
