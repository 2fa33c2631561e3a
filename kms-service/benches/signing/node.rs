//! The service in a node, with secrets in files.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use kms_backend_preload::PreloadSettings;
use kms_keys::{KeyId, KeyType};
use kms_service::{KmsApi, KmsSection, KmsService, NoOperators};
use overwatch::derive_services;
use overwatch::overwatch::{Overwatch, OverwatchRunner};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::window::Client;

pub type Kms = KmsService<PreloadSettings, NoOperators, RuntimeServiceId>;

#[derive_services]
pub struct Node {
    kms: Kms,
}

/// A node whose service has one key of each type.
pub struct BenchNode {
    overwatch: Overwatch<RuntimeServiceId>,
    api: KmsApi,
    _folder: TempDir,
}

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
        let keys = KeyType::ALL.iter().map(|key_type| {
            write(&folder.path().join(key_type.as_str()), &secret(*key_type));
            let name = key_type.as_str();
            json!({ "id": name, "type": name, "source": { "file": name, "encoding": "raw" } })
        });
        let section = json!({ "backends": { "local": {} }, "keys": keys.collect::<Vec<_>>() });
        let section: KmsSection<PreloadSettings> = serde_json::from_value(section).unwrap();
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

    pub async fn stop(self) {
        self.overwatch.handle().stop_service::<Kms>().await.unwrap();
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
