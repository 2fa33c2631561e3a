//! Nodes in processes of their own that the environment gives a remote backend.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::process::Command;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use kms_keys::{KeyType, PublicKey, Signature};
use kms_peers::{Bao, Ministack};
use kms_tests::{paired, write_secret};
use serde_json::{Value, json};
use tempfile::TempDir;

const ACCOUNT: &str = "system:serviceaccount:validators:node";
const MESSAGE: &str = "a message of the node's";

/// The node of the backend `section`, which has signed with a key of type Ed25519.
fn signed(folder: &TempDir, section: &str) -> PublicKey {
    let output = node(folder, section, ACCOUNT).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["backend"], "environment");
    let text = |name: &str| said[name].as_str().unwrap();
    let public_key = PublicKey::from_hex(KeyType::Ed25519, text("public_key")).unwrap();
    let scheme = KeyType::Ed25519.default_scheme();
    let bytes = base16ct::lower::decode_vec(text("signature")).unwrap();
    let signature = Signature::from_bytes(scheme, &bytes).unwrap();
    public_key.verify(scheme, MESSAGE.as_bytes(), &signature).unwrap();
    public_key
}

fn node(folder: &TempDir, section: &str, account: &str) -> Command {
    let claims = Base64UrlUnpadded::encode_string(format!(r#"{{"sub":"{ACCOUNT}"}}"#).as_bytes());
    let token = folder.path().join("account");
    write_secret(&token, format!("e30.{claims}.c2ln"));
    let mut node = Command::new(env!("CARGO_BIN_EXE_injected-node"));
    node.args(["node/identity", "ed25519", MESSAGE]).current_dir(folder).env_clear();
    node.env("KMS_ENABLED", "true").env("KMS_VALUE", section).env("KMS_SERVICE_ACCOUNT", account);
    node.env("AWS_WEB_IDENTITY_TOKEN_FILE", token);
    node
}

/// What the audit records of `folder` say was signed and looked at.
#[track_caller]
fn recorded(folder: &TempDir) {
    let records = paired(&[&folder.path().join("audit.log")]);
    for operation in ["sign", "health"] {
        let ended = |record: &Value| {
            record["operation"] == operation
                && record["event"] == "response"
                && record["outcome"] == "ok"
        };
        assert!(records.iter().any(ended), "{operation}: {records:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_node_signs_by_the_aws_of_its_environment() {
    let (aws, folder) = (Ministack::start().await, TempDir::new().unwrap());
    let credentials = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    write_secret(&folder.path().join("credentials"), credentials);
    let section = format!(
        r#"{{ type = "aws", region = "us-east-1", endpoint-override = "{}", tags = {{ a-b = "c" }},
             credentials = {{ profile = {{ file = "credentials", name = "default" }} }},
             remote = {{ audit = {{ file = "audit.log" }} }} }}"#,
        aws.url()
    )
    .replace('\n', " ");
    let public_key = signed(&folder, &section);
    let there = aws.must("GetPublicKey", &json!({ "KeyId": "alias/kms/node/identity" }));
    let der = Base64::decode_vec(there["PublicKey"].as_str().unwrap()).unwrap();
    assert_eq!(PublicKey::from_spki_der(KeyType::Ed25519, &der).unwrap(), public_key);
    assert_eq!(signed(&folder, &section), public_key, "the next start has the same key");
    assert_eq!(aws.keys().len(), 1);
    recorded(&folder);

    let refused =
        node(&folder, &section, "system:serviceaccount:validators:other").output().unwrap();
    let log = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && log.contains("OtherAccount"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_node_signs_by_the_vault_of_its_environment() {
    let (bao, folder) = (Bao::dev().await, TempDir::new().unwrap());
    bao.must(&["secrets", "enable", "-path=team-a/transit", "transit"]);
    write_secret(&folder.path().join("token"), bao.root_token());
    let section = format!(
        r#"{{ type = "vault", address = "{}", allow-http = true, mount = "team-a/transit",
             auth = {{ token = {{ file = "token" }} }}, remote = {{ audit = {{ file = "audit.log" }} }} }}"#,
        bao.url()
    )
    .replace('\n', " ");
    let public_key = signed(&folder, &section);
    let there = bao.must(&["read", "-format=json", "team-a/transit/keys/node_2Fidentity"]);
    let there: Value = serde_json::from_str(&there).unwrap();
    let text = there["data"]["keys"]["1"]["public_key"].as_str().unwrap();
    let bytes = Base64::decode_vec(text).unwrap();
    assert_eq!(PublicKey::from_bytes(KeyType::Ed25519, &bytes).unwrap(), public_key);
    assert_eq!(signed(&folder, &section), public_key, "the next start has the same key");
    recorded(&folder);
}
