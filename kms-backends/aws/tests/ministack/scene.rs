//! What the tests of this backend share: a server, a proxy in front of it, and settings that use them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{
    Backend, BackendError, BackendSettings, IfMissing, KeySpec, OpenContext, RegisteredKey,
    RemoteSigner, Signer,
};
use kms_backend_aws::AwsSettings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use kms_peers::{Ministack, Proxy};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A server, what stands before it, and settings that use it.
pub(crate) struct Scene {
    pub(crate) server: Ministack,
    pub(crate) proxy: Proxy,
    pub(crate) folder: TempDir,
    pub(crate) settings: AwsSettings,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// With these settings besides.
    pub(crate) async fn with(more: Value) -> Self {
        let server = Ministack::start().await;
        let proxy = Proxy::before(server.address()).await;
        Self::behind(server, proxy, more)
    }

    /// With this server and this proxy.
    pub(crate) fn behind(server: Ministack, proxy: Proxy, more: Value) -> Self {
        let folder = TempDir::new().unwrap();
        write_profile(&folder);
        let settings = settings(&proxy.url(), more);
        Self { server, proxy, folder, settings }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Backend> {
        self.settings.open(&self.context()).await.unwrap()
    }

    pub(crate) async fn open_with(&self, more: Value) -> Arc<dyn Backend> {
        settings(&self.proxy.url(), more).open(&self.context()).await.unwrap()
    }

    pub(crate) fn context(&self) -> OpenContext {
        OpenContext::new("cloud", self.folder.path())
    }

    /// Waits until the server has this many keys that sign, and all others are pending deletion.
    pub(crate) async fn usable(&self, expected: usize) {
        let begun = Instant::now();
        loop {
            let keys = self.server.keys();
            let enabled = keys.iter().filter(|key| key["KeyState"] == "Enabled").count();
            let pending = keys.iter().filter(|key| key["KeyState"] == "PendingDeletion").count();
            if enabled == expected && enabled + pending == keys.len() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{enabled}, {pending}: {keys:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Settings for a server at this address.
pub(crate) fn settings(url: &str, more: Value) -> AwsSettings {
    let mut settings = json!({
        "region": "us-east-1",
        "endpoint_override": url,
        "credentials": { "profile": { "file": "credentials", "name": "node" } },
        "remote": {
            "timeout": "2s",
            "retry": { "first": "20ms", "limit": 8 },
            "health_interval": "100ms"
        }
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

pub(crate) fn write_profile(folder: &TempDir) {
    write_secret(
        folder,
        "credentials",
        &format!(
            "[node]\naws_access_key_id = {ACCESS_KEY_ID}\n\
             aws_secret_access_key = {SECRET_ACCESS_KEY}\n"
        ),
    );
}

pub(crate) fn write_secret(folder: &TempDir, name: &str, text: &str) {
    kms_peers::write_secret(&folder.path().join(name), text);
}

pub(crate) fn key_id(id: &str) -> KeyId {
    KeyId::new(id).unwrap()
}

pub(crate) fn generated(id: &str, key_type: KeyType) -> KeySpec {
    let mut spec = KeySpec::new(key_id(id), key_type);
    spec.if_missing = IfMissing::Generate;
    spec
}

pub(crate) fn remote(key: &RegisteredKey) -> &dyn RemoteSigner {
    let Signer::Remote(signer) = &key.signer else { panic!("a key left AWS") };
    &**signer
}

/// Signs with the key and verifies.
pub(crate) async fn proved(key: &RegisteredKey, scheme: SigningScheme) -> Result<(), BackendError> {
    let message = [7; 32];
    let signature = remote(key).sign(scheme, &message).await?;
    key.info.public_key.verify(scheme, &message, &signature).unwrap();
    Ok(())
}
