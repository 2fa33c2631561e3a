//! Nodes that are put together in other ways: with operators that clash, and two in one process.

use std::path::Path;
use std::sync::Arc;

use kms_keys::{Operator, X25519Operator};
use kms_service::{
    KmsApi, KmsError, KmsSection, KmsService, KmsSettings, NoOperators, Operators, StartupError,
};
use overwatch::derive_services;
use overwatch::overwatch::OverwatchRunner;
use serde_json::json;
use tokio::runtime::Handle;

use crate::startup::{good, report};
use crate::support::*;

/// A node with nothing but the service, whose operators share a name.
mod twins {
    use super::*;

    pub enum Twins {}

    impl Operators for Twins {
        fn operators() -> Vec<Arc<dyn Operator>> {
            vec![Arc::new(X25519Operator), Arc::new(X25519Operator)]
        }
    }

    pub type TwinKms = KmsService<FakeSettings, Twins, RuntimeServiceId>;

    #[derive_services]
    pub struct TwinNode {
        kms: TwinKms,
    }
}

/// Another node with another backend.
mod lone {
    use super::*;

    pub type LoneKms =
        KmsService<kms_backend_preload::PreloadSettings, NoOperators, RuntimeServiceId>;

    #[derive_services]
    pub struct LoneNode {
        kms: LoneKms,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_of_one_name_are_refused() {
    let kms = settings(good(), json!({}), &Script::default());
    let settings = twins::TwinNodeServiceSettings { kms };
    let node = OverwatchRunner::<twins::TwinNode>::run(settings, Some(Handle::current())).unwrap();
    let error = within(node.handle().start_service::<twins::TwinKms>()).await.unwrap_err();
    let report = report(&error);
    assert!(matches!(report, StartupError::DuplicateOperator("x25519")), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_one_process_keep_their_keys_apart() {
    let here = TestNode::started(good()).await;
    let folder = tempfile::tempdir().unwrap();
    let section = json!({
        "backends": { "local": {} },
        "keys": [{ "id": "theirs", "type": "ed25519", "source": { "file": "secret" } }]
    });
    write_secret(folder.path(), "secret", &secret_of(&id("theirs"), 1));
    let section: KmsSection<_> = serde_json::from_value(section).unwrap();
    let kms: KmsSettings<_> = section.check::<lone::RuntimeServiceId>(folder.path()).unwrap();
    let settings = lone::LoneNodeServiceSettings { kms };
    let there = OverwatchRunner::<lone::LoneNode>::run(settings, Some(Handle::current())).unwrap();
    within(there.handle().start_service::<lone::LoneKms>()).await.unwrap();

    let ours = here.api().await;
    let theirs = KmsApi::connect::<lone::LoneKms, lone::LoneKms>(there.handle()).await.unwrap();
    theirs.sign(&id("theirs"), "m").await.unwrap();
    works(&ours).await;
    assert_refused!(ours.sign(&id("theirs"), "m").await, KmsError::NotFound { .. });
    assert_refused!(theirs.sign(&id("good"), "m").await, KmsError::NotFound { .. });
    within(there.handle().stop_service::<lone::LoneKms>()).await.unwrap();
    works(&ours).await;
}

fn write_secret(folder: &Path, name: &str, secret: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(folder.join(name));
    file.unwrap().write_all(base16ct::lower::encode_string(secret).as_bytes()).unwrap();
}
