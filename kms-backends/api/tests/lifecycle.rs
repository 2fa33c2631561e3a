//! The suite's lifecycle checks under test: a backend that generates, rotates, disables and deletes
//! passes, and each one that is broken there fails there.

#![allow(clippy::unwrap_used, reason = "a test backend that can't go on fails its test")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use kms_backend::conformance::{self, CheckKind, Fixture, Provisioned};
use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, Failure, Health, IfMissing, KeyInfo,
    KeyPage, KeySpec, KeyState, OlderVersion, OpenContext, Operation, PageRequest, RegisteredKey,
    Signer, SoftwareSigner, SourceUse, async_trait,
};
use kms_keys::{KeyId, KeyType, SecretKey};
use serde::Deserialize;

/// What is wrong with a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// What it generated is gone when it is opened again.
    ForgetsGenerated,
    /// Rotating gives a new version of the same key.
    RotatesToTheSameKey,
    /// Rotating gives a new key of the same version.
    RepeatsVersions,
    /// The versions before are gone.
    ForgetsOlder,
    /// The versions before sign with the newest key.
    OlderSignWithTheNewest,
    /// Opened again, it is at the first version.
    ForgetsRotations,
    /// Says that a key it disabled is active.
    DoesNotDisable,
    /// Opened again, a disabled key is active.
    ForgetsStates,
    /// Enables a key whose deletion is scheduled.
    EnablesWhatIsScheduled,
    /// Lets a key be destroyed at once.
    DoesNotWait,
    /// Says that a cancelled deletion is still to come.
    DoesNotCancel,
    /// Disables keys that aren't there.
    DisablesNothing,
}

struct Stored {
    key_type: KeyType,
    /// The secrets of all versions, the newest last.
    secrets: Vec<Vec<u8>>,
    state: KeyState,
}

type Keys = Arc<Mutex<BTreeMap<KeyId, Stored>>>;

#[derive(Clone, Default, Deserialize)]
struct Settings {
    #[serde(skip)]
    keys: Keys,
    #[serde(skip)]
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
        use Operation::{CancelDelete, Disable, Enable, Execute, Generate, Rotate, ScheduleDelete};
        let can = [Generate, Rotate, Disable, Enable, ScheduleDelete, CancelDelete, Execute];
        Capabilities::software(SourceUse::Refused, can)
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        let mut keys = self.keys.lock().unwrap();
        let is_new = |id: &KeyId| id.as_str().starts_with("lifecycle/new");
        match self.fault {
            Fault::ForgetsGenerated => keys.retain(|id, _| !is_new(id)),
            Fault::ForgetsRotations => keys.values_mut().for_each(|key| key.secrets.truncate(1)),
            Fault::ForgetsStates => {
                keys.values_mut().for_each(|key| key.state = KeyState::Active);
            }
            _ => {}
        }
        let (keys, name) = (Arc::clone(&self.keys), context.name.clone());
        Ok(Arc::new(Memory { keys, name, fault: self.fault }))
    }
}

struct Memory {
    keys: Keys,
    name: String,
    fault: Fault,
}

fn generate(key_type: KeyType) -> Vec<u8> {
    SecretKey::generate(key_type).unwrap().expose_secret().expose().to_vec()
}

fn not_found(id: &KeyId) -> BackendError {
    BackendError::NotFound(Failure::new(format!("no key {id}")))
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

    fn set(
        &self,
        id: &KeyId,
        state: impl FnOnce(KeyState) -> Result<KeyState, BackendError>,
    ) -> Result<KeyInfo, BackendError> {
        let mut keys = self.keys();
        let stored = keys.get_mut(id).ok_or_else(|| not_found(id))?;
        stored.state = state(stored.state)?;
        Ok(self.key(id, stored).info)
    }

    fn unless_scheduled(&self, state: KeyState, next: KeyState) -> Result<KeyState, BackendError> {
        match state {
            KeyState::PendingDeletion { .. } if self.fault != Fault::EnablesWhatIsScheduled => {
                Err(BackendError::Denied(Failure::new("it is scheduled for deletion")))
            }
            _ => Ok(next),
        }
    }
}

#[async_trait]
impl Backend for Memory {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        let mut keys = self.keys();
        if !keys.contains_key(&spec.id) {
            if spec.if_missing == IfMissing::Fail {
                return Err(not_found(&spec.id));
            }
            let secrets = vec![generate(spec.key_type)];
            let stored = Stored { key_type: spec.key_type, secrets, state: KeyState::Active };
            keys.insert(spec.id.clone(), stored);
        }
        Ok(self.key(&spec.id, &keys[&spec.id]))
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let keys = self.keys();
        let infos = keys.range::<KeyId, _>((page.start(), Bound::Unbounded));
        let infos: Vec<_> = infos.map(|(id, stored)| self.key(id, stored).info).collect();
        Ok(KeyPage::collect(page, &infos))
    }

    async fn health(&self) -> Health {
        Health::ok()
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        let mut keys = self.keys();
        let stored = keys.get_mut(id).ok_or_else(|| not_found(id))?;
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
            Fault::DoesNotDisable => self.set(id, Ok),
            _ => self.set(id, |state| self.unless_scheduled(state, KeyState::Disabled)),
        }
    }

    async fn enable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.set(id, |state| self.unless_scheduled(state, KeyState::Active))
    }

    async fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<KeyInfo, BackendError> {
        let wait = if self.fault == Fault::DoesNotWait { Duration::ZERO } else { wait };
        self.set(id, |_| Ok(KeyState::PendingDeletion { not_before: SystemTime::now() + wait }))
    }

    async fn cancel_delete(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        match self.fault {
            Fault::DoesNotCancel => self.set(id, Ok),
            _ => self.set(id, |_| Ok(KeyState::Disabled)),
        }
    }

    async fn close(&self) {}
}

struct InMemory(Settings);

#[async_trait]
impl Fixture for InMemory {
    type Settings = Settings;

    fn settings(&self) -> Settings {
        self.0.clone()
    }

    fn context(&self) -> OpenContext {
        OpenContext::new("memory", ".")
    }

    async fn provision(&self, id: KeyId, key_type: KeyType) -> Provisioned {
        let mut spec = KeySpec::new(id, key_type);
        spec.if_missing = IfMissing::Generate;
        Provisioned { spec, public_key: None }
    }

    fn absent(&self, id: KeyId, key_type: KeyType) -> KeySpec {
        KeySpec::new(id, key_type)
    }

    async fn damage(&self, _spec: &KeySpec) -> bool {
        false
    }
}

/// The names of the checks that a backend with this fault fails, all of them about its lifecycle.
async fn failing(fault: Fault) -> Vec<String> {
    let settings = Settings { keys: Keys::default(), fault };
    let report = conformance::run(InMemory(settings), Duration::from_secs(60)).await;
    let lifecycle = |failure: &&conformance::CheckFailure| failure.kind == CheckKind::Lifecycle;
    let elsewhere = report.failures().iter().find(|failure| !lifecycle(failure));
    assert!(elsewhere.is_none(), "{report}");
    report.failures().iter().map(|failure| failure.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_backend_passes() {
    assert_eq!(failing(Fault::None).await, Vec::<String>::new());
}

macro_rules! fails {
    ($($name:ident: $fault:ident in $check:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let failing = failing(Fault::$fault).await;
                assert!(!failing.is_empty(), "nothing failed");
                assert!(failing.iter().all(|name| name.contains($check)), "{failing:?}");
            }
        )+
    };
}

fails! {
    forgetting_what_was_generated_fails: ForgetsGenerated in "generated where it is missing";
    rotating_to_the_same_key_fails: RotatesToTheSameKey in "rotated";
    repeating_versions_fails: RepeatsVersions in "rotated";
    forgetting_older_versions_fails: ForgetsOlder in "rotated";
    older_versions_with_the_newest_key_fail: OlderSignWithTheNewest in "rotated";
    forgetting_rotations_fails: ForgetsRotations in "rotated";
    not_disabling_fails: DoesNotDisable in "disabled and enabled";
    forgetting_states_fails: ForgetsStates in "";
    enabling_what_is_scheduled_fails: EnablesWhatIsScheduled in "scheduled for deletion";
    not_waiting_fails: DoesNotWait in "scheduled for deletion";
    not_cancelling_fails: DoesNotCancel in "scheduled for deletion";
    disabling_nothing_fails: DisablesNothing in "nothing is done";
}
