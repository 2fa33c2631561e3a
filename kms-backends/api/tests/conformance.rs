//! The suite itself under test: an honest backend passes all of it, and each deliberately broken
//! one fails in the place where it is broken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken backend may panic; that is tested")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kms_backend::conformance::{self, CheckKind, Fixture, Provisioned, Report};
use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, Failure, Health, HealthLevel, IfMissing,
    KeyInfo, KeyPage, KeySpec, LocalSigner, OpenContext, Operation, PageRequest, RegisteredKey,
    Signer, SoftwareSigner, SourceUse, async_trait,
};
use kms_keys::{
    EcdsaSignature, KeyId, KeyType, Operator, OperatorError, PublicKey, SecretKey, Signature,
    SigningScheme,
};
use serde::Deserialize;

/// What is wrong with a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// Gives ECDSA signatures with a high s.
    HighS,
    /// Gives ECDSA signatures without a recovery id.
    NoRecoveryId,
    /// Signs with a key of its own.
    WrongKey,
    /// Signs something else than the message.
    WrongMessage,
    /// Signs under whatever scheme suits it.
    AnyScheme,
    /// Makes a new key every time it is opened.
    AnotherKeyAfterReopen,
    /// Makes a new key every time it is asked.
    AnotherKeyEachTime,
    /// Looks for a key by its id in lower case.
    IgnoresCase,
    /// Says that it has registered what isn't there.
    RegistersAbsentKeys,
    /// Answers with another id.
    WrongId,
    /// Says that the key lives elsewhere.
    WrongBackendName,
    /// Panics when it is asked for a key.
    PanicsOnRegister,
    /// Panics when it is to sign.
    PanicsOnSign,
    /// Never answers when it is asked for a key.
    EndlessRegister,
    /// Never answers when it is to sign.
    EndlessSign,
    /// Makes a new key where the stored one is damaged.
    ReplacesDamagedKeys,
    /// Says that a damaged key may be readable next time.
    RetryableDamage,
    /// Refuses a missing key with the wrong class.
    WrongClass,
    /// Leaves keys out of its lists.
    ShortList,
    /// Gives the first page for ever.
    EndlessList,
    /// Says that it has rotated a key, though it can't.
    PretendsToRotate,
    /// Is not well as soon as it is opened.
    Unwell,
}

#[derive(Default)]
struct Store {
    keys: Mutex<BTreeMap<KeyId, Vec<u8>>>,
    opened: AtomicUsize,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Settings {
    #[serde(skip)]
    store: Arc<Store>,
    #[serde(skip)]
    fault: Fault,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

#[async_trait]
impl BackendSettings for Settings {
    fn capabilities(&self) -> Capabilities {
        Capabilities::software(SourceUse::Refused, [Operation::Generate, Operation::Execute])
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        if self.store.opened.fetch_add(1, Ordering::SeqCst) > 0
            && self.fault == Fault::AnotherKeyAfterReopen
        {
            self.store.keys.lock().unwrap().clear();
        }
        let (store, fault, name) = (Arc::clone(&self.store), self.fault, context.name.clone());
        Ok(Arc::new(Memory { store, fault, name, listed: Mutex::default() }))
    }
}

struct Memory {
    store: Arc<Store>,
    fault: Fault,
    name: String,
    listed: Mutex<BTreeMap<KeyId, KeyInfo>>,
}

impl Memory {
    fn load(&self, spec: &KeySpec) -> Result<SecretKey, BackendError> {
        let id = match self.fault {
            Fault::IgnoresCase => KeyId::new(spec.id.as_str().to_lowercase()).unwrap(),
            _ => spec.id.clone(),
        };
        let generate =
            spec.if_missing == IfMissing::Generate || self.fault == Fault::RegistersAbsentKeys;
        let mut keys = self.store.keys.lock().unwrap();
        if self.fault == Fault::AnotherKeyEachTime {
            keys.remove(&id);
        }
        if let Some(bytes) = keys.get(&id) {
            match SecretKey::from_bytes(spec.key_type, bytes) {
                Ok(key) => return Ok(key),
                Err(_) if self.fault == Fault::ReplacesDamagedKeys => {}
                Err(cause) => {
                    let failure = Failure::because("the stored key is damaged", cause);
                    return Err(match self.fault {
                        Fault::RetryableDamage => BackendError::Unavailable(failure),
                        _ => BackendError::Corrupt(failure),
                    });
                }
            }
        } else if !generate {
            let failure = Failure::new(format!("no key {id}"));
            return Err(match self.fault {
                Fault::WrongClass => BackendError::Denied(failure),
                _ => BackendError::NotFound(failure),
            });
        }
        let key = SecretKey::generate(spec.key_type).unwrap();
        keys.insert(id, key.expose_secret().expose().to_vec());
        Ok(key)
    }
}

#[async_trait]
impl Backend for Memory {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        match self.fault {
            Fault::PanicsOnRegister => panic!("a bug"),
            Fault::EndlessRegister => std::future::pending().await,
            _ if spec.derivation.is_some() => {
                return Err(BackendError::Unsupported(Operation::Derive));
            }
            _ => {}
        }
        let signer = SoftwareSigner::new(self.load(spec)?);
        let public_key = signer.public_key().clone();
        let id = match self.fault {
            Fault::WrongId => KeyId::new("another").unwrap(),
            _ => spec.id.clone(),
        };
        let name = if self.fault == Fault::WrongBackendName { "elsewhere" } else { &self.name };
        let info = KeyInfo::new(id, public_key, name);
        self.listed.lock().unwrap().insert(spec.id.clone(), info.clone());
        let signer = FaultySigner { signer, fault: self.fault };
        Ok(RegisteredKey::new(info, Signer::Local(Arc::new(signer))))
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let listed = self.listed.lock().unwrap();
        let first = match self.fault {
            Fault::EndlessList => Bound::Unbounded,
            _ => page.start(),
        };
        let keys = listed.range::<KeyId, _>((first, Bound::Unbounded)).map(|(_, info)| info);
        let skip = usize::from(self.fault == Fault::ShortList && page.after.is_none());
        Ok(KeyPage::collect(page, keys.skip(skip)))
    }

    async fn health(&self) -> Health {
        match self.fault {
            Fault::Unwell => Health::new(HealthLevel::Degraded, "not well"),
            _ => Health::ok(),
        }
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        match self.fault {
            Fault::PretendsToRotate => {
                self.register(&KeySpec::new(id.clone(), KeyType::Ed25519)).await
            }
            _ => Err(BackendError::Unsupported(Operation::Rotate)),
        }
    }

    async fn close(&self) {}
}

struct FaultySigner {
    signer: SoftwareSigner,
    fault: Fault,
}

impl LocalSigner for FaultySigner {
    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        match (self.fault, self.public_key().key_type()) {
            (Fault::PanicsOnSign, _) => panic!("a bug"),
            (Fault::EndlessSign, _) => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            (Fault::WrongKey, key_type) => {
                let other = SecretKey::generate(key_type).unwrap();
                SoftwareSigner::new(other).sign(scheme, message)
            }
            (Fault::WrongMessage, _) if scheme.message_len().is_none() => {
                self.signer.sign(scheme, b"what the backend likes to sign")
            }
            (Fault::AnyScheme, key_type) => self.signer.sign(key_type.default_scheme(), message),
            (Fault::HighS | Fault::NoRecoveryId, _) => {
                let signature = self.signer.sign(scheme, message)?;
                let Signature::Ecdsa(signature) = signature else {
                    return Ok(signature);
                };
                let mut bytes = signature.to_bytes();
                if self.fault == Fault::HighS {
                    negate((&mut bytes[32..]).try_into().unwrap());
                }
                EcdsaSignature::from_bytes(&bytes).map(Signature::Ecdsa).map_err(|cause| {
                    BackendError::Corrupt(Failure::because("the device's signature", cause))
                })
            }
            _ => self.signer.sign(scheme, message),
        }
    }

    fn execute(
        &self,
        operator: &dyn Operator,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperatorError> {
        self.signer.execute(operator, input, out)
    }
}

/// `s` becomes the group order of secp256k1 (SEC 2, section 2.4.1) minus `s`.
fn negate(s: &mut [u8; 32]) {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36,
        0x41, 0x41,
    ];
    let mut borrow = 0;
    for (digit, order) in s.iter_mut().zip(ORDER).rev() {
        let difference = i16::from(order) - i16::from(*digit) - borrow;
        borrow = i16::from(difference < 0);
        *digit = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
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

    async fn damage(&self, spec: &KeySpec) -> bool {
        self.0.store.keys.lock().unwrap().insert(spec.id.clone(), vec![0; 31]);
        true
    }
}

async fn report_on(fault: Fault, limit: Duration) -> Report {
    let settings = Settings { store: Arc::default(), fault };
    conformance::run(InMemory(settings), limit).await
}

/// The kinds of checks in which a backend with this fault fails.
async fn failing(fault: Fault) -> Vec<CheckKind> {
    let patient = !matches!(fault, Fault::EndlessRegister | Fault::EndlessSign);
    let limit = Duration::from_millis(if patient { 60_000 } else { 200 });
    let report = report_on(fault, limit).await;
    let mut kinds: Vec<_> = report.failures().iter().map(|failure| failure.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_backend_passes() {
    let report = report_on(Fault::None, Duration::from_secs(60)).await;
    report.assert_conformance();
    // It generates keys and does nothing else to them: tests/lifecycle/.
    let lifecycle = |(kind, _): &(CheckKind, String)| *kind == CheckKind::Lifecycle;
    assert!(report.not_applicable().iter().all(lifecycle), "{:?}", report.not_applicable());
    assert!(report.to_string().starts_with("conformance: "), "{report}");
}

macro_rules! fails {
    ($($name:ident: $fault:ident in [$($kind:ident),+];)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                assert_eq!(failing(Fault::$fault).await, [$(CheckKind::$kind),+]);
            }
        )+
    };
}

fails! {
    high_s_fails: HighS in [Sign, Reopen, Lifecycle];
    missing_recovery_ids_fail: NoRecoveryId in [Sign];
    the_wrong_key_fails: WrongKey in [Sign, Reopen, Lifecycle];
    the_wrong_message_fails: WrongMessage in [Sign, Reopen, Lifecycle];
    another_scheme_fails: AnyScheme in [Sign];
    another_key_after_opening_again_fails: AnotherKeyAfterReopen in [Missing, Reopen, Lifecycle];
    another_key_each_time_fails: AnotherKeyEachTime in [Register, Missing, Reopen, Lifecycle];
    ignoring_case_fails: IgnoresCase in [Register];
    registering_absent_keys_fails: RegistersAbsentKeys in [Missing];
    the_wrong_id_fails: WrongId in [Register, List];
    the_wrong_backend_name_fails: WrongBackendName in [Register];
    a_panic_when_registering_fails: PanicsOnRegister in
        [Register, Sign, Missing, Reopen, List, Lifecycle, Operation];
    a_panic_when_signing_fails: PanicsOnSign in [Sign, Reopen, Lifecycle];
    an_endless_wait_when_registering_fails: EndlessRegister in
        [Register, Sign, Missing, Reopen, List, Lifecycle, Operation];
    an_endless_wait_when_signing_fails: EndlessSign in [Sign, Reopen, Lifecycle];
    replacing_damaged_keys_fails: ReplacesDamagedKeys in [Missing];
    retryable_damage_fails: RetryableDamage in [Missing];
    the_wrong_class_fails: WrongClass in [Missing];
    short_lists_fail: ShortList in [List];
    endless_lists_fail: EndlessList in [List];
    pretending_to_rotate_fails: PretendsToRotate in [Operation];
    being_unwell_fails: Unwell in [Operation];
}
