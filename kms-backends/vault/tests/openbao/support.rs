//! A server with a Transit mount, and backends on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, BackendSettings, IfMissing, KeySpec, OpenContext, RegisteredKey,
    RemoteSigner, Request, Signer,
};
use kms_backend_vault::VaultSettings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use kms_peers::Bao;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Server {
    pub(crate) bao: Bao,
    pub(crate) folder: TempDir,
}

impl Server {
    pub(crate) async fn dev() -> Self {
        Self::with_transit(Bao::dev().await)
    }

    pub(crate) async fn raft() -> Self {
        Self::with_transit(Bao::raft().await)
    }

    fn with_transit(bao: Bao) -> Self {
        bao.must(&["secrets", "enable", "transit"]);
        let server = Self { bao, folder: TempDir::new().unwrap() };
        server.secret_file("root-token", server.bao.root_token());
        server
    }

    pub(crate) fn secret_file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        kms_peers::write_secret(&path, content);
        path
    }

    pub(crate) fn settings(&self, fields: Value) -> VaultSettings {
        let mut section =
            json!({"address": self.bao.url(), "auth": {"token": {"file": "root-token"}}});
        if self.bao.url().starts_with("https") {
            section["tls"] = json!({"ca": self.bao.certificate()});
        } else {
            section["allow_http"] = true.into();
        }
        for (name, value) in fields.as_object().unwrap() {
            section[name] = value.clone();
        }
        serde_json::from_value(section).unwrap()
    }

    pub(crate) async fn open(&self, fields: Value) -> Arc<dyn Backend> {
        self.try_open(fields).await.unwrap()
    }

    pub(crate) async fn try_open(&self, fields: Value) -> Result<Arc<dyn Backend>, BackendError> {
        self.settings(fields).open(&context(self.folder.path())).await
    }

    /// A token with just these rules in a file, as `auth` settings.
    pub(crate) fn token_with(&self, name: &str, rules: &str) -> Value {
        self.bao.policy(name, rules);
        let token = self.bao.token(&[name], "1h");
        json!({"token": {"file": self.secret_file(name, &token)}})
    }
}

pub(crate) fn context(folder: &Path) -> OpenContext {
    OpenContext::new("vault", folder)
}

pub(crate) fn id(id: &str) -> KeyId {
    KeyId::new(id).unwrap()
}

pub(crate) fn there(name: &str) -> KeySpec {
    KeySpec::new(id(name), KeyType::Ed25519)
}

pub(crate) fn generated(name: &str) -> KeySpec {
    let mut spec = there(name);
    spec.if_missing = IfMissing::Generate;
    spec
}

pub(crate) fn signer(key: &RegisteredKey) -> Arc<dyn RemoteSigner> {
    match &key.signer {
        Signer::Remote(signer) => Arc::clone(signer),
        Signer::Local(_) => panic!("a local signer"),
    }
}

/// Signs, as for a request with this much time, and checks the signature.
pub(crate) async fn sign(
    signer: &dyn RemoteSigner,
    message: &[u8],
    time: Duration,
) -> Result<(), BackendError> {
    let scheme = SigningScheme::Ed25519;
    let until = std::time::Instant::now() + time;
    let signature = Request::until(until).scope(signer.sign(scheme, message)).await?;
    signer.public_key().verify(scheme, message, &signature).unwrap();
    Ok(())
}
