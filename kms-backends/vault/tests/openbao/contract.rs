//! The contract of a backend.

use std::time::Duration;

use kms_backend::conformance::{self, Fixture, Provisioned};
use kms_backend::{KeySpec, OpenContext, async_trait};
use kms_backend_vault::VaultSettings;
use kms_keys::{KeyId, KeyType};
use serde_json::json;

use super::support::{Server, context, generated, there};

struct OneServer(Server);

#[async_trait]
impl Fixture for OneServer {
    type Settings = VaultSettings;

    fn settings(&self) -> VaultSettings {
        self.0.settings(json!({}))
    }

    fn context(&self) -> OpenContext {
        context(self.0.folder.path())
    }

    async fn provision(&self, id: KeyId, _: KeyType) -> Provisioned {
        Provisioned { spec: generated(id.as_str()), public_key: None }
    }

    fn absent(&self, id: KeyId, _: KeyType) -> KeySpec {
        there(id.as_str())
    }

    /// Another key in its place, of a type that can't sign.
    async fn damage(&self, spec: &KeySpec) -> bool {
        let path = format!("transit/keys/{}", spec.id.as_str().replace('/', "_2F"));
        let bao = &self.0.bao;
        if bao.run(&["read", &path]).is_ok() {
            bao.must(&["write", &format!("{path}/config"), "deletion_allowed=true"]);
            bao.must(&["delete", &path]);
        }
        bao.must(&["write", &path, "type=aes256-gcm96"]);
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn the_backend_keeps_the_contract() {
    let fixture = OneServer(Server::dev().await);
    conformance::run(fixture, Duration::from_secs(60)).await.assert_conformance();
}
