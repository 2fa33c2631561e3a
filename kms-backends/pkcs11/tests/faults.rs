//! A module that errs for a while, or has more to do than it should.

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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, OpenContext,
    RegisteredKey, RemoteSigner, Signer,
};
use kms_backend_pkcs11::Pkcs11Settings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use kms_peers::{SoftHsm, outcomes, paired, write_secret};
use serde_json::json;
use tempfile::TempDir;

/// The module is told by the environment how to err, so each test is this program, started again.
const FOLDER: &str = "FAULTS_FOLDER";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many sign without pause.
const SIGNERS: usize = 12;

/// A token behind a module that errs while files exist.
struct Scene {
    folder: PathBuf,
    token: SoftHsm,
    hsm: Arc<dyn Backend>,
}

impl Scene {
    /// `None` where the test called `name` was started again instead.
    async fn of(name: &str) -> Option<Self> {
        let Some(folder) = std::env::var_os(FOLDER) else {
            again(name);
            return None;
        };
        let (folder, token) = (PathBuf::from(folder), SoftHsm::start());
        write_secret(&folder.join("pin"), SoftHsm::PIN);
        let section = json!({
            "module": SoftHsm::faulty_module(&folder),
            "token": { "label": token.label() },
            "pin": { "file": "pin" },
            "sessions": 8,
            "remote": {
                "timeout": "10s", "retry": { "first": "10ms", "limit": 4 }, "health_interval": "20ms",
                "audit": { "file": "audit.log" }
            }
        });
        let settings: Pkcs11Settings = serde_json::from_value(section).unwrap();
        let hsm = settings.open(&OpenContext::new("hsm", &folder)).await.unwrap();
        Some(Self { folder, token, hsm })
    }

    fn begin(&self, fault: &str) {
        fs::write(self.folder.join(fault), "").unwrap();
    }

    fn end(&self, fault: &str) {
        fs::remove_file(self.folder.join(fault)).unwrap();
    }

    async fn make(&self) -> RegisteredKey {
        let mut spec = KeySpec::new(KeyId::new("node").unwrap(), KeyType::Ed25519);
        spec.if_missing = IfMissing::Generate;
        self.hsm.register(&spec).await.unwrap()
    }
}

fn again(name: &str) {
    let folder = TempDir::new().unwrap();
    let (conf, tokens) = (folder.path().join("softhsm2.conf"), folder.path().join("tokens"));
    fs::create_dir(&tokens).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    let mut scene = Command::new(std::env::current_exe().unwrap());
    scene.args(["--exact", name, "--ignored", "--nocapture"]);
    // Tokens of its own: a process that lists them minds those that go away meanwhile.
    scene.env("SOFTHSM2_CONF", conf);
    scene.env(FOLDER, folder.path()).env("FAULTY_MODULE", SoftHsm::module());
    for (variable, file) in [
        ("NOT_INITIALIZED_WHILE", "not-initialized"),
        ("SLOW_WHILE", "slow"),
        ("DESTROYED_IN_SILENCE_WHILE", "destroyed-in-silence"),
        ("SESSION_LOST_ONCE", "session-lost"),
    ] {
        scene.env(variable, folder.path().join(file));
    }
    let output = scene.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all as it should be"), "{said}{log}");
}

fn signer(key: RegisteredKey) -> Arc<dyn RemoteSigner> {
    let Signer::Remote(signer) = key.signer else { panic!() };
    signer
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_module_that_could_not_be_initialised_again_is_so_later() {
    let name = "a_module_that_could_not_be_initialised_again_is_so_later";
    let Some(scene) = Scene::of(name).await else { return };
    let signer = signer(scene.make().await);
    // The module is initialised again when a token isn't there.
    scene.begin("not-initialized");
    scene.token.remove();
    let failed = async {
        loop {
            let refused = signer.sign(SigningScheme::Ed25519, b"m").await.err();
            let text = refused.map_or_else(String::new, |error| ErrorChain(&error).to_string());
            if ["can't be loaded", "can't look for token"].iter().any(|part| text.contains(part)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, failed).await.expect("it was not ended");
    scene.token.insert();
    scene.end("not-initialized");
    let mended = async {
        while signer.sign(SigningScheme::Ed25519, b"m").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, mended).await.expect("it was not initialised again");
    scene.hsm.close().await;
    println!("all as it should be");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_key_is_made_while_others_sign_without_pause() {
    let name = "a_key_is_made_while_others_sign_without_pause";
    let Some(scene) = Scene::of(name).await else { return };
    let signer = signer(scene.make().await);
    // A module that caches objects is to read the token anew when a key was made slowly.
    scene.begin("slow");
    let done = Arc::new(AtomicBool::new(false));
    let signing = (0..SIGNERS).map(|_| {
        let (signer, done) = (Arc::clone(&signer), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                signer.sign(SigningScheme::Ed25519, b"m").await.unwrap();
            }
        })
    });
    let signing: Vec<_> = signing.collect();
    for version in 2..5 {
        let rotated = scene.hsm.rotate(&KeyId::new("node").unwrap()).await.unwrap();
        assert_eq!(rotated.info.version, version);
    }
    done.store(true, Ordering::Relaxed);
    for task in signing {
        task.await.unwrap();
    }
    scene.hsm.close().await;
    println!("all as it should be");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn what_was_destroyed_though_it_failed_is_destroyed() {
    let name = "what_was_destroyed_though_it_failed_is_destroyed";
    let Some(scene) = Scene::of(name).await else { return };
    let id = scene.make().await.info.id;
    scene.begin("destroyed-in-silence");
    scene.hsm.destroy(&id).await.unwrap();
    scene.end("destroyed-in-silence");
    let refused = scene.hsm.destroy(&id).await.unwrap_err();
    assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
    // Nothing of it is left in the way.
    scene.make().await;
    scene.hsm.close().await;
    println!("all as it should be");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn what_is_asked_again_in_another_session_has_records_of_its_own() {
    let name = "what_is_asked_again_in_another_session_has_records_of_its_own";
    let Some(scene) = Scene::of(name).await else { return };
    let key = scene.make().await;
    let (public_key, signer) = (key.info.public_key.clone(), signer(key));
    scene.begin("session-lost");
    let signature = signer.sign(SigningScheme::Ed25519, b"m").await.unwrap();
    public_key.verify(SigningScheme::Ed25519, b"m", &signature).unwrap();
    signer.sign(SigningScheme::Ed25519, b"m").await.unwrap();
    scene.hsm.close().await;
    let records = paired(&[&scene.folder.join("audit.log")]);
    assert_eq!(outcomes(&records, "sign"), [(1, "unavailable"), (2, "ok"), (1, "ok")]);
    println!("all as it should be");
}
