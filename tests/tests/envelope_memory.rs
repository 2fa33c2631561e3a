//! What is left of a store's key in the memory of who had somebody else open it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kms_backend::{BackendSettings, IfMissing, KeySpec, OpenContext};
use kms_backend_keystore::{Store, UnlockSecret, UnlockSettings};
use kms_backends::{AnyBackend, AnyUnlock};
use kms_keys::KeyType;
use kms_peers::{Bao, Ministack, SoftHsm};
use kms_secrets::SecretBytes;
use kms_tests::memory::{Search, needles};
use kms_tests::store_secrets::{Unlock, secrets_of};
use kms_tests::{id, write_secret};
use serde_json::{Value, json};
use tempfile::TempDir;

const FOLDER: &str = "ENVELOPE_MEMORY_FOLDER";
const KEY_FILE: [u8; 32] = [7; 32];

/// The folder, in a process that was started to hold its store open: each test starts itself again.
fn to_hold() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Holds the store of the folder open until the input ends.
async fn hold(folder: &Path) {
    let unlock: Value =
        serde_json::from_slice(&std::fs::read(folder.join("unlock.json")).unwrap()).unwrap();
    let section = json!({ "type": "keystore", "path": "store", "unlock": unlock });
    let settings: AnyBackend = serde_json::from_value(section).unwrap();
    let backend = settings.open(&OpenContext::new("store", folder)).await.unwrap();
    let mut spec = KeySpec::new(id("a"), KeyType::Bls12381);
    spec.if_missing = IfMissing::Generate;
    backend.register(&spec).await.unwrap();
    println!("\nopen");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Holder(Child);

impl Holder {
    fn start(test: &str, folder: &Path) -> Self {
        let mut holder = Command::new(std::env::current_exe().unwrap());
        holder.args(["--exact", test, "--ignored", "--nocapture"]).env(FOLDER, folder);
        let mut child = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line == "open"), "it doesn't open");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Where secrets of the store lie in the memory of who has opened it by `unlock`, which is `test`.
async fn found(test: &str, folder: &TempDir, unlock: Value) -> Vec<String> {
    std::fs::write(folder.path().join("unlock.json"), unlock.to_string()).unwrap();
    let unlock: AnyUnlock = serde_json::from_value(unlock).unwrap();
    let new = unlock.secret(&OpenContext::new("store", folder.path())).await.unwrap();
    let path = folder.path().join("store");
    let (path, new) = tokio::task::spawn_blocking(move || {
        let key_file = UnlockSecret::KeyFile(SecretBytes::from_slice(&KEY_FILE));
        let mut store = Store::create(&path, &key_file).unwrap();
        store.add_unlocker(&key_file, "external", &new).unwrap();
        drop(store);
        (path, new)
    })
    .await
    .unwrap();
    new.close().await;
    let holder = Holder::start(test, folder.path());
    let secrets = secrets_of(&path, &Unlock(&KEY_FILE));
    assert!(secrets.len() > 3);
    let needles: Vec<_> = secrets.iter().flat_map(|(name, secret)| needles(name, secret)).collect();
    let reading = Search::new(&needles).of_process(holder.0.id());
    reading.found.into_iter().map(|found| found.needle).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_token_leaves_nothing() {
    if let Some(folder) = to_hold() {
        return hold(&folder).await;
    }
    let (folder, token) = (TempDir::new().unwrap(), SoftHsm::start());
    write_secret(&folder.path().join("pin"), SoftHsm::PIN);
    let unlock = json!({ "pkcs11": {
        "module": SoftHsm::module(), "token": { "label": token.label() },
        "pin": { "file": "pin" }, "key": "store", "if_missing": "generate",
    }});
    let found = found("a_token_leaves_nothing", &folder, unlock).await;
    assert!(found.is_empty(), "{found:#?}");
}

/// What the HTTP library has received lies in its buffers.
fn assert_only_text(found: &[String]) {
    let others: Vec<_> = found.iter().filter(|found| !found.contains(" base64+")).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(found.iter().all(|found| found.starts_with("store key ")), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn aws_leaves_no_more_than_the_text_that_came() {
    if let Some(folder) = to_hold() {
        return hold(&folder).await;
    }
    let (folder, server) = (TempDir::new().unwrap(), Ministack::start().await);
    let key = server.must("CreateKey", &json!({}))["KeyMetadata"]["KeyId"].take();
    let credentials = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    write_secret(&folder.path().join("credentials"), credentials);
    let unlock = json!({ "aws": {
        "region": "us-east-1", "endpoint_override": server.url(), "key": key,
        "credentials": { "profile": { "file": "credentials", "name": "default" } },
    }});
    assert_only_text(&found("aws_leaves_no_more_than_the_text_that_came", &folder, unlock).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn vault_leaves_no_more_than_the_text_that_came() {
    if let Some(folder) = to_hold() {
        return hold(&folder).await;
    }
    let (folder, bao) = (TempDir::new().unwrap(), Bao::dev().await);
    bao.must(&["secrets", "enable", "transit"]);
    bao.must(&["write", "-f", "transit/keys/node"]);
    bao.policy("node", r#"path "transit/+/node" { capabilities = ["update"] }"#);
    write_secret(&folder.path().join("token"), bao.token(&["node"], "1h"));
    let unlock = json!({ "vault": {
        "address": bao.url(), "allow_http": true, "key": "node",
        "auth": { "token": { "file": "token" } },
    }});
    assert_only_text(&found("vault_leaves_no_more_than_the_text_that_came", &folder, unlock).await);
}
