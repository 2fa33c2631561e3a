//! A module that hangs: its threads are left behind, and nothing waits for them.
//!
//! The module finds what it needs in the environment, so the scene is a process of its own: this test
//! program, started again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{
    Backend, BackendError, BackendSettings, Health, HealthLevel, IfMissing, KeySpec, OpenContext,
    Signer,
};
use kms_backend_pkcs11::Pkcs11Settings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use kms_peers::{SoftHsm, write_secret};
use tempfile::TempDir;

const FILE: &str = "HANG_WHILE";

/// Started again by itself, it is the scene.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn threads_that_hang_are_left_behind_and_the_process_ends() {
    if let Some(file) = std::env::var_os(FILE) {
        return hang_while(file.into()).await;
    }
    let folder = TempDir::new().unwrap();
    let mut scene = Command::new(std::env::current_exe().unwrap());
    let name = "threads_that_hang_are_left_behind_and_the_process_ends";
    scene.args(["--exact", name, "--ignored", "--nocapture"]);
    scene.env(FILE, folder.path().join("hang")).env("FAULTY_MODULE", SoftHsm::module());
    let begun = Instant::now();
    let output = scene.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all as it should be"), "{said}{log}");
    // A thread hangs in the module to the end.
    assert!(begun.elapsed() < Duration::from_secs(60), "{said}{log}");
}

/// The module hangs while `file` exists.
async fn hang_while(file: PathBuf) {
    let (folder, token) = (TempDir::new().unwrap(), SoftHsm::start());
    write_secret(&folder.path().join("pin"), SoftHsm::PIN);
    let json = serde_json::json!({
        "module": SoftHsm::faulty_module(folder.path()),
        "token": { "label": token.label() },
        "pin": { "file": "pin" },
        "sessions": 2,
        "remote": { "timeout": "1s", "retry": { "limit": 1 }, "health_interval": "100ms" }
    });
    let settings: Pkcs11Settings = serde_json::from_value(json).unwrap();
    let hsm = settings.open(&OpenContext::new("hsm", folder.path())).await.unwrap();
    let mut spec = KeySpec::new(KeyId::new("node").unwrap(), KeyType::Ed25519);
    spec.if_missing = IfMissing::Generate;
    let key = hsm.register(&spec).await.unwrap();
    let Signer::Remote(signer) = key.signer else { panic!() };
    let sign = || {
        let signer = Arc::clone(&signer);
        async move { signer.sign(SigningScheme::Ed25519, b"m").await }
    };
    sign().await.unwrap();

    // One thread hangs; the other, and the one in its place, go on.
    fs::write(&file, "").unwrap();
    let refused = sign().await.unwrap_err();
    assert!(matches!(refused, BackendError::Unavailable(_)), "{refused:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let health = hsm.health().await;
    assert_eq!(health.level, HealthLevel::Degraded, "{health:?}");
    let unlinked = file.with_extension("later");
    fs::rename(&file, &unlinked).unwrap();
    for _ in 0..10 {
        sign().await.unwrap();
    }
    recovered(&*hsm).await;

    // While three hang the module isn't called any more, and that is told at once.
    fs::rename(&unlinked, &file).unwrap();
    for _ in 0..3 {
        sign().await.unwrap_err();
    }
    let begun = Instant::now();
    let refused = sign().await.unwrap_err();
    assert!(matches!(refused, BackendError::Unavailable(_)), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_millis(500), "it was called again");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let health = hsm.health().await;
    assert_eq!(health.level, HealthLevel::Failed, "{health:?}");

    // As soon as they come back, all is as before.
    fs::rename(&file, &unlinked).unwrap();
    recovered(&*hsm).await;
    for _ in 0..10 {
        sign().await.unwrap();
    }
    fs::rename(&unlinked, &file).unwrap();
    sign().await.unwrap_err();
    hsm.close().await;
    println!("all as it should be");
}

async fn recovered(hsm: &dyn Backend) {
    let begun = Instant::now();
    while hsm.health().await != Health::ok() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", hsm.health().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
