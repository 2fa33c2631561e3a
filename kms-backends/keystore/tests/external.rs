//! Stores whose key somebody else opens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kms_backend::{BackendError, BackendSettings, Failure, OpenContext, async_trait};
use kms_backend_keystore::{
    External, ExternalUnlocker, KeystoreSettings, NewKey, Store, StoreError, UnlockSecret,
    UnlockSettings, UnlockerKind,
};
use kms_keys::{KeyId, KeyType};
use kms_secrets::{SecretArray, SecretBytes};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Keeps what is sealed, and gives it out again.
#[derive(Debug, Default)]
struct Safe {
    key: &'static str,
    kept: Mutex<Vec<(Vec<u8>, SecretBytes)>>,
    refuses: AtomicBool,
    too_short: AtomicBool,
    closed: AtomicUsize,
}

#[async_trait]
impl ExternalUnlocker for Safe {
    fn provider(&self) -> &'static str {
        "safe"
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("key".into(), self.key.into())])
    }

    async fn seal(&self, key: &SecretArray<32>, bound: &[u8]) -> Result<Vec<u8>, BackendError> {
        let mut kept = self.kept.lock().unwrap();
        kept.push((bound.to_vec(), SecretBytes::from_slice(key.expose())));
        Ok(vec![u8::try_from(kept.len() - 1).unwrap()])
    }

    async fn open(&self, sealed: &[u8], bound: &[u8]) -> Result<SecretBytes, BackendError> {
        tokio::task::yield_now().await;
        if self.refuses.load(Ordering::Relaxed) {
            return Err(BackendError::Denied(Failure::new("closed on Sundays")));
        }
        let kept = self.kept.lock().unwrap();
        match kept.get(usize::from(sealed[0])) {
            Some((there, key)) if there == bound => {
                let len = if self.too_short.load(Ordering::Relaxed) { 31 } else { 32 };
                Ok(SecretBytes::from_slice(&key.expose()[..len]))
            }
            _ => Err(BackendError::WrongSecret(Failure::new("sealed for something else"))),
        }
    }

    async fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

struct Scene {
    folder: TempDir,
    runtime: Runtime,
    safe: Arc<Safe>,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self { folder, runtime: Runtime::new().unwrap(), safe: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn external(&self) -> UnlockSecret {
        self.by(Arc::clone(&self.safe))
    }

    fn by(&self, safe: Arc<Safe>) -> UnlockSecret {
        let _guard = self.runtime.enter();
        UnlockSecret::External(External::new(safe).unwrap())
    }
}

fn key_file() -> UnlockSecret {
    UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]))
}

fn with_a_key(store: &Store) {
    store.generate(&[NewKey::new(KeyId::new("a").unwrap(), KeyType::Bls12381)]).unwrap();
}

#[test]
fn a_store_opens_by_itself_until_the_right_is_taken_away() {
    let scene = Scene::new();
    let (path, external) = (scene.path("store"), scene.external());
    let store = Store::create(&path, &external).unwrap();
    with_a_key(&store);
    let UnlockerKind::External { provider, parameters } = &store.unlockers()[0].kind else {
        panic!("{:?}", store.unlockers());
    };
    assert_eq!((provider.as_str(), parameters["key"].as_str()), ("safe", ""));
    drop(store);
    assert_eq!(Store::open(&path, &external).unwrap().count().unwrap(), 1);
    assert!(matches!(Store::open(&path, &key_file()), Err(StoreError::WrongKey { unlockers: 0 })));

    scene.safe.refuses.store(true, Ordering::Relaxed);
    let refused = BackendError::from(Store::open(&path, &external).unwrap_err());
    let text = kms_backend::ErrorChain(&refused).to_string();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert!(text.contains("\"first\"") && text.contains("safe: closed on Sundays"), "{text}");
    scene.safe.refuses.store(false, Ordering::Relaxed);
    Store::open(&path, &external).unwrap();
}

#[test]
fn it_opens_its_own_store_and_no_other() {
    let scene = Scene::new();
    let external = scene.external();
    for name in ["one", "two"] {
        drop(Store::create(&scene.path(name), &external).unwrap());
    }
    let bounds: Vec<_> = {
        let kept = scene.safe.kept.lock().unwrap();
        kept.iter().map(|(bound, _)| bound.clone()).collect()
    };
    assert!(bounds[0].starts_with(b"kms-keystore v1 unlocker"));
    assert_ne!(bounds[0], bounds[1]);

    // One store's header says what is sealed for the other.
    scene.safe.kept.lock().unwrap().swap(0, 1);
    let refused = Store::open(&scene.path("one"), &external).unwrap_err();
    assert!(matches!(BackendError::from(refused), BackendError::WrongSecret(_)));
    // And it is bound to nothing.
    {
        let mut kept = scene.safe.kept.lock().unwrap();
        kept[0].0.clone_from(&bounds[0]);
    }
    let refused = Store::open(&scene.path("one"), &external).unwrap_err();
    assert!(matches!(refused, StoreError::Header(_)), "{refused:?}");

    let other = Arc::new(Safe { key: "other", ..Safe::default() });
    let refused = Store::open(&scene.path("one"), &scene.by(other));
    assert!(matches!(refused, Err(StoreError::WrongKey { unlockers: 0 })));
}

#[test]
fn what_is_no_key_is_refused() {
    let scene = Scene::new();
    let (path, external) = (scene.path("store"), scene.external());
    drop(Store::create(&path, &external).unwrap());
    scene.safe.too_short.store(true, Ordering::Relaxed);
    let refused = BackendError::from(Store::open(&path, &external).unwrap_err());
    assert!(matches!(refused, BackendError::Corrupt(_)), "{refused:?}");
}

#[test]
fn it_comes_and_goes_like_others_but_does_not_count_as_the_last() {
    let scene = Scene::new();
    let (path, external) = (scene.path("store"), scene.external());
    let mut store = Store::create(&path, &key_file()).unwrap();
    with_a_key(&store);
    store.add_unlocker(&key_file(), "cloud", &external).unwrap();
    assert!(matches!(store.remove_unlocker("first", false), Err(StoreError::LastLocalUnlocker(_))));
    drop(store);

    let mut store = Store::open(&path, &external).unwrap();
    assert_eq!(store.unlocker(&external).unwrap().name, "cloud");
    store.remove_unlocker("first", true).unwrap();
    assert!(matches!(store.remove_unlocker("cloud", true), Err(StoreError::LastUnlocker(_))));
    assert!(store.rekey(&external).unwrap().is_empty());
    drop(store);
    let mut store = Store::open(&path, &external).unwrap();
    store.add_unlocker(&external, "people", &key_file()).unwrap();
    store.remove_unlocker("cloud", false).unwrap();
    assert!(matches!(store.unlocker(&external), Err(StoreError::WrongKey { unlockers: 0 })));
    drop(store);
    Store::open(&path, &key_file()).unwrap();
}

/// Settings with a safe that all share.
#[derive(Clone, Debug, Deserialize)]
struct Shared {
    #[serde(skip)]
    safe: Arc<Safe>,
}

#[async_trait]
impl UnlockSettings for Shared {
    fn env_names(&self) -> Vec<String> {
        vec!["SAFE".into()]
    }

    async fn secret(&self, _: &OpenContext) -> Result<UnlockSecret, BackendError> {
        let safe = Arc::clone(&self.safe);
        Ok(UnlockSecret::External(External::new(safe)?))
    }
}

/// On one thread, which must not be kept.
#[tokio::test]
async fn a_backend_opens_with_it_and_says_good_bye() {
    let folder = TempDir::new().unwrap();
    let safe = Arc::new(Safe::default());
    let settings = KeystoreSettings {
        path: "store".into(),
        unlock: Shared { safe: Arc::clone(&safe) },
        create: true,
        if_missing: kms_backend::IfMissing::Generate,
    };
    assert_eq!(settings.env_names(), ["SAFE"]);
    for times in 1..=2 {
        let backend = settings.open(&context(folder.path())).await.unwrap();
        backend.close().await;
        assert_eq!(safe.closed.load(Ordering::Relaxed), times);
    }
    safe.refuses.store(true, Ordering::Relaxed);
    let refused = settings.open(&context(folder.path())).await.err().unwrap();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert_eq!(safe.closed.load(Ordering::Relaxed), 3);
}

fn context(folder: &Path) -> OpenContext {
    OpenContext::new("store", folder)
}
