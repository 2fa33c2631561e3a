//! The contract of a backend, run against this one.

#![allow(clippy::unwrap_used, reason = "a test that can't write its key files fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use kms_backend::conformance::{self, Fixture, Provisioned};
use kms_backend::{KeySpec, OpenContext, async_trait};
use kms_backend_preload::PreloadSettings;
use kms_keys::{KeyId, KeyType, SecretKey};
use kms_secrets::SecretSource;
use tempfile::TempDir;

struct Files {
    folder: TempDir,
}

impl Files {
    fn path(&self, id: &KeyId) -> PathBuf {
        self.folder.path().join(id.as_str().replace('/', "+"))
    }

    fn spec(&self, id: KeyId, key_type: KeyType) -> KeySpec {
        let path = self.path(&id);
        let mut spec = KeySpec::new(id, key_type);
        spec.source = Some(SecretSource::File { path, encoding: None, group_readable: false });
        spec
    }

    fn write(&self, id: &KeyId, text: &str) {
        let path = self.path(id);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

#[async_trait]
impl Fixture for Files {
    type Settings = PreloadSettings;

    fn settings(&self) -> PreloadSettings {
        PreloadSettings {}
    }

    fn context(&self) -> OpenContext {
        OpenContext::new("files", self.folder.path())
    }

    async fn provision(&self, id: KeyId, key_type: KeyType) -> Provisioned {
        let key = SecretKey::generate(key_type).unwrap();
        let hex = key.expose_secret().expose().iter().map(|byte| format!("{byte:02x}"));
        self.write(&id, &hex.collect::<String>());
        Provisioned { spec: self.spec(id, key_type), public_key: Some(key.public_key()) }
    }

    fn absent(&self, id: KeyId, key_type: KeyType) -> KeySpec {
        self.spec(id, key_type)
    }

    async fn damage(&self, spec: &KeySpec) -> bool {
        self.write(&spec.id, "no key at all");
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preload_keeps_the_contract() {
    let files = Files { folder: TempDir::new().unwrap() };
    conformance::run(files, Duration::from_secs(60)).await.assert_conformance();
}
