//! The service in a node, with secrets in files, and a backend that doesn't answer with one of its keys.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, Health, KeyCapability, KeyInfo, KeyPage,
    KeySpec, LocalSigner, OpenContext, PageRequest, RegisteredKey, RemoteSigner, Signer,
    SoftwareSigner, SourceUse, async_trait,
};
use kms_backend_preload::PreloadSettings;
use kms_keys::{KeyId, KeyType, PublicKey, SecretKey, Signature, SigningScheme};
use kms_service::{KmsApi, KmsError, KmsSection, KmsService, NoOperators};
use overwatch::derive_services;
use overwatch::overwatch::{Overwatch, OverwatchRunner};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::load::Client;

pub type Kms = KmsService<BenchBackend, NoOperators, RuntimeServiceId>;

#[derive_services]
pub struct Node {
    kms: Kms,
}

/// A node whose service has one key of each type, and two that a hung backend holds.
pub struct BenchNode {
    overwatch: Overwatch<RuntimeServiceId>,
    api: KmsApi,
    _folder: TempDir,
}

/// The key that the hung backend never answers with, and the one that it does answer with.
const HUNG: &str = "hung";
const ANSWERED: &str = "answered";

/// How many requests hang in the backend.
pub static PENDING: AtomicUsize = AtomicUsize::new(0);

pub struct ServiceClient {
    api: KmsApi,
    key: KeyId,
}

/// The secret of the key of each type. No number of it is too large for any type.
pub fn secret(key_type: KeyType) -> [u8; 32] {
    [key_type.as_str().len() as u8; 32]
}

impl BenchNode {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut keys: Vec<_> = KeyType::ALL
            .iter()
            .map(|key_type| {
                let name = key_type.as_str();
                write(&folder.path().join(name), &secret(*key_type));
                let source = json!({ "file": name, "encoding": "raw" });
                json!({ "id": name, "type": name, "backend": "local", "source": source })
            })
            .collect();
        for id in [HUNG, ANSWERED] {
            keys.push(json!({ "id": id, "type": "ed25519", "backend": "hung" }));
        }
        let backends = json!({ "local": { "type": "preload" }, "hung": { "type": "hung" } });
        let section = json!({ "backends": backends, "keys": keys });
        let section: KmsSection<BenchBackend> = serde_json::from_value(section).unwrap();
        let kms = section.check::<RuntimeServiceId>(folder.path()).unwrap();
        let settings = NodeServiceSettings { kms };
        let overwatch = OverwatchRunner::<Node>::run(settings, Some(Handle::current())).unwrap();
        overwatch.handle().start_service::<Kms>().await.unwrap();
        let api = KmsApi::connect::<Kms, Kms>(overwatch.handle()).await.unwrap();
        Self { overwatch, api, _folder: folder }
    }

    pub fn client(&self, key_type: KeyType) -> ServiceClient {
        ServiceClient { api: self.api.clone(), key: KeyId::new(key_type.as_str()).unwrap() }
    }

    /// A client that waits in vain.
    pub fn hung_client(&self) -> ServiceClient {
        let api = self.api.clone().with_deadline(Duration::from_millis(100));
        ServiceClient { api, key: KeyId::new(HUNG).unwrap() }
    }

    /// A client of the same backend that gets its answers.
    pub fn answered_client(&self) -> ServiceClient {
        ServiceClient { api: self.api.clone(), key: KeyId::new(ANSWERED).unwrap() }
    }

    pub async fn stop(self) {
        self.overwatch.handle().stop_service::<Kms>().await.unwrap();
    }
}

impl ServiceClient {
    /// Asks in vain, for as long as it waits.
    pub async fn hang(&self) {
        let answer = self.api.sign(&self.key, [7; 32]).await;
        assert!(matches!(answer, Err(KmsError::DeadlineExceeded)), "{answer:?}, not hung");
    }

    pub async fn sign_many(&self, messages: impl Iterator<Item = Vec<u8>>) {
        let signed = self.api.sign_many(&self.key, None, messages.collect()).await.unwrap();
        assert!(signed.iter().all(Result::is_ok));
    }
}

impl Client for ServiceClient {
    async fn sign(&self, message: [u8; 32]) {
        std::hint::black_box(self.api.sign(&self.key, message).await.unwrap());
    }
}

fn write(path: &Path, secret: &[u8]) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(secret).unwrap();
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum BenchBackend {
    Preload(PreloadSettings),
    Hung,
}

#[async_trait]
impl BackendSettings for BenchBackend {
    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Preload(settings) => settings.capabilities(),
            Self::Hung => {
                let key_type = KeyType::Ed25519;
                let key = KeyCapability::new(key_type, key_type.schemes().iter().copied());
                Capabilities::new([key], SourceUse::Refused, [])
            }
        }
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        match self {
            Self::Preload(settings) => settings.open(context).await,
            Self::Hung => Ok(Arc::new(HungBackend { name: context.name.clone() })),
        }
    }
}

/// Has two keys, and takes for ever to sign with one of them.
struct HungBackend {
    name: String,
}

#[async_trait]
impl Backend for HungBackend {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        let key = SecretKey::from_bytes(KeyType::Ed25519, &secret(KeyType::Ed25519)).unwrap();
        let info = KeyInfo::new(spec.id.clone(), key.public_key(), self.name.as_str());
        let hangs = spec.id.as_str() == HUNG;
        let signer = RemoteKey { signer: SoftwareSigner::new(key), hangs };
        Ok(RegisteredKey::new(info, Signer::Remote(Arc::new(signer))))
    }

    async fn list(&self, _: &PageRequest) -> Result<KeyPage, BackendError> {
        std::future::pending().await
    }

    async fn health(&self) -> Health {
        std::future::pending().await
    }

    async fn close(&self) {}
}

struct RemoteKey {
    signer: SoftwareSigner,
    hangs: bool,
}

#[async_trait]
impl RemoteSigner for RemoteKey {
    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    async fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        if self.hangs {
            let _pending = Pending::new();
            std::future::pending::<()>().await;
        }
        self.signer.sign(scheme, message)
    }
}

/// Is counted for as long as it is there.
struct Pending;

impl Pending {
    fn new() -> Self {
        PENDING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        PENDING.fetch_sub(1, Ordering::SeqCst);
    }
}
