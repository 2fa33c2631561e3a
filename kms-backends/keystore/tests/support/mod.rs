//! A store in a folder of its own, opened as the service would.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, OpenContext,
    PageRequest, RegisteredKey, Signer,
};
use kms_backend_keystore::{KeystoreSettings, UnlockSource};
use kms_keys::{KeyId, KeyType};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder with a key file and, once it was opened, a store.
pub struct Folder {
    folder: TempDir,
    runtime: Runtime,
}

impl Folder {
    /// In memory where the machine has a file system there: these tests write a store thousands of
    /// times, and what they look for is not the disk's.
    pub fn new() -> Self {
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() }.unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let folder = Self { folder, runtime };
        folder.write("key", &[7; 32]);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }

    /// Opens the store called `name` with the key file.
    pub fn open(&self, name: &str, create: bool) -> Result<Arc<dyn Backend>, BackendError> {
        let unlock = UnlockSource::KeyFile("key".into());
        let if_missing = IfMissing::Fail;
        let settings = KeystoreSettings { path: name.into(), unlock, create, if_missing };
        let context = OpenContext::new("test", self.folder.path());
        self.runtime.block_on(settings.open(&context))
    }

    pub fn register(
        &self,
        backend: &dyn Backend,
        id: &str,
        key_type: KeyType,
        if_missing: IfMissing,
    ) -> Result<RegisteredKey, BackendError> {
        let mut spec = KeySpec::new(KeyId::new(id).unwrap(), key_type);
        spec.if_missing = if_missing;
        self.runtime.block_on(backend.register(&spec))
    }

    /// Everything in the store, after keys have signed and their signatures have been verified: all
    /// of them, or the one that a number picks.
    pub fn content(
        &self,
        backend: &dyn Backend,
        pick: Option<usize>,
    ) -> Result<Vec<String>, BackendError> {
        let page = self.runtime.block_on(backend.list(&PageRequest::first(1000)))?;
        let mut content = Vec::new();
        let len = page.keys.len();
        for (index, info) in page.keys.into_iter().enumerate() {
            content.push(format!("{info:?}"));
            if pick.is_some_and(|pick| pick % len != index) {
                continue;
            }
            let id = info.id.as_str();
            let key = self.register(backend, id, info.key_type, IfMissing::Fail)?;
            let Signer::Local(signer) = &key.signer else { panic!("not local") };
            let scheme = info.key_type.default_scheme();
            let signature = signer.sign(scheme, b"content")?;
            info.public_key.verify(scheme, b"content", &signature).unwrap();
        }
        Ok(content)
    }
}

pub fn text(error: &BackendError) -> String {
    ErrorChain(error).to_string()
}
