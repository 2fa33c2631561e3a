//! A backend that works, though not as it should: a store that can't be written any more.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use kms_backend::IfMissing;
use kms_keys::KeyType;
use kms_service::{KeyRequest, KmsApi};
use node_example::identity::Identity;
use node_example::node::Kms;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::{free_address, get, with_a_store};

/// Where the process that must not write is told to work.
const FOLDER: &str = "OBSERVING_FOLDER";

/// A process that is not allowed to make files longer, and is not ended by the signal that says so: this
/// test starts itself again as one.
#[test]
fn a_store_that_cannot_be_written() {
    if let Some(folder) = env::var_os(FOLDER) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(without_room(Path::new(&folder)));
    }
    let folder = TempDir::new().unwrap();
    let this = "degraded::a_store_that_cannot_be_written";
    let output = Command::new("sh")
        .args(["-c", &format!(r#"trap "" XFSZ; exec "$0" --exact {this}"#)])
        .arg(env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

async fn without_room(folder: &Path) {
    let address = free_address();
    let settings = with_a_store(folder, address);
    let settings = NodeSettings::from_yaml(&settings, "settings", folder).unwrap();
    let node = RunningNode::start(settings).await.unwrap();
    let health = || async move {
        let answer = tokio::task::spawn_blocking(move || get(address, "/health")).await.unwrap();
        (answer.status, serde_json::from_str::<Value>(&answer.page).unwrap())
    };
    let (status, page) = health().await;
    assert_eq!((status, page["level"].as_str()), (200, Some("ok")), "{page}");

    let size = fs::metadata(folder.join("node.keystore")).unwrap().len();
    setrlimit(Resource::Fsize, Rlimit { current: Some(size), maximum: None }).unwrap();
    let kms = KmsApi::connect::<Kms, Identity>(node.handle()).await.unwrap();
    let mut new = 0;
    loop {
        let request = KeyRequest::new(format!("new/{new}"), KeyType::Ed25519);
        if kms.register(request.if_missing(IfMissing::Generate)).await.is_err() {
            break;
        }
        new += 1;
        assert!(new < 20_000, "there is always room");
    }
    let (status, page) = health().await;
    let store = &page["backends"]["store"];
    assert_eq!((status, page["level"].as_str()), (200, Some("degraded")), "{page}");
    assert_eq!(store["level"], "degraded");
    assert!(store["reasons"][0].as_str().unwrap().contains("the last change failed"), "{page}");
    node.stop().await;
}
