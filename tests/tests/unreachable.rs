//! A node whose remote backend refuses connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::time::{Duration, Instant};

use kms_peers::free_port;
use kms_tests::{Folder, write_secret};
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;

/// Far longer than the node may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longer than it takes to be refused within `limits.startup`, and shorter than the first pause before another try,
/// which is 14 to 28 s.
const LIMIT: Duration = Duration::from_secs(12);

/// Those of the section, so that it is not for having tried often enough that the node gives up.
const REMOTE: &str = "remote: { retry: { first: 28s, longest: 28s } }";

/// Starts a node with a backend `far` and a key there.
async fn refused(section: &str) -> Refusal {
    let folder = Folder::new(1);
    write_secret(&folder.path("token"), "root");
    let credentials = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    write_secret(&folder.path("credentials"), credentials);
    let text = kms_tests::SETTINGS
        .replace("  keys:\n", &format!("    far: {section}\n  keys:\n    - {FAR}\n"))
        .replace("source: {", "backend: local, source: {")
        .replace("deadline: 10m", "deadline: 10m, startup: 2s");
    let settings = folder.settings_of(&text);
    let begun = Instant::now();
    let started = tokio::time::timeout(PATIENCE, RunningNode::start(settings)).await;
    let refused = started.expect("it waits for the server").err().expect("it started");
    assert!(begun.elapsed() < LIMIT, "refused after {:?}: {refused}", begun.elapsed());
    refused
}

const FAR: &str = "{ id: far/key, type: ed25519, backend: far, if_missing: generate }";

fn expect(refused: &Refusal, address: &str) {
    assert_eq!((refused.code, refused.code as u8), (ExitCode::Unavailable, 69), "{refused}");
    let of = |key: Option<&str>| {
        let mut failures = refused.failures.iter();
        failures
            .find(|failure| failure.key.as_deref() == key)
            .unwrap_or_else(|| panic!("{refused}"))
    };
    let backend = of(None);
    assert!(backend.cause.contains("backend far"), "{refused}");
    assert!(backend.cause.contains(address), "{refused}");
    assert!(backend.cause.contains("refused"), "{refused}");
    assert!(of(Some("far/key")).cause.contains("backend far"), "{refused}");
    // The keys that are there are not among them.
    assert_eq!(refused.failures.len(), 2, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_server_that_is_not_there_is_named() {
    let address = format!("127.0.0.1:{}", free_port());
    let section = format!(
        "{{ type: vault, address: \"http://{address}\", allow_http: true, auth: {{ token: {{ file: token }} }}, {REMOTE} }}"
    );
    expect(&refused(&section).await, &address);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aws_endpoint_that_is_not_there_is_named() {
    let address = format!("127.0.0.1:{}", free_port());
    let section = format!(
        "{{ type: aws, region: us-east-1, endpoint_override: \"http://{address}\", \
         credentials: {{ profile: {{ file: credentials, name: default }} }}, {REMOTE} }}"
    );
    expect(&refused(&section).await, &address);
}
