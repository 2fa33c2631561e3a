//! How often a token gets to see a PIN that it doesn't take.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, OpenContext, Signer,
};
use kms_backend_pkcs11::{Pkcs11Settings, TokenName};
use kms_keys::{KeyId, KeyType, SigningScheme};
use kms_peers::{SoftHsm, outcomes, paired, write_secret};
use tempfile::TempDir;

#[path = "support/stranger.rs"]
mod stranger;

/// The module is told by the environment how to err, so each test is this program, started again.
const FOLDER: &str = "PINS_FOLDER";

/// A token behind a module that counts logins, and answers them with what is in a file.
struct Scene {
    folder: PathBuf,
    token: SoftHsm,
    settings: Pkcs11Settings,
}

impl Scene {
    /// `None` where the test called `name` was started again instead.
    fn of(name: &str) -> Option<Self> {
        let Some(folder) = std::env::var_os(FOLDER) else {
            let folder = TempDir::new().unwrap();
            let mut scene = Command::new(std::env::current_exe().unwrap());
            scene.args(["--exact", name, "--ignored", "--nocapture"]);
            scene.env(FOLDER, folder.path()).env("FAULTY_MODULE", SoftHsm::module());
            scene.env("COUNT_LOGINS", folder.path().join("logins"));
            scene.env("LOGIN_ANSWERS", folder.path().join("answer"));
            scene.env("FINAL_TRY_WHILE", folder.path().join("final-try"));
            let output = scene.stdin(Stdio::null()).output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("all as it should be"), "{said}{log}");
            return None;
        };
        let (folder, token) = (PathBuf::from(folder), SoftHsm::start());
        let json = serde_json::json!({
            "module": SoftHsm::faulty_module(&folder),
            "token": { "label": token.label() },
            "pin": { "file": "pin" },
            "remote": { "retry": { "first": "10ms", "limit": 4 }, "health_interval": "20ms",
                "audit": { "file": "audit.log" } }
        });
        Some(Self { folder, token, settings: serde_json::from_value(json).unwrap() })
    }

    async fn open(&self, pin: &str) -> Result<Arc<dyn Backend>, BackendError> {
        self.open_with(&self.settings, pin).await
    }

    async fn open_with(
        &self,
        settings: &Pkcs11Settings,
        pin: &str,
    ) -> Result<Arc<dyn Backend>, BackendError> {
        write_secret(&self.path("pin"), pin);
        settings.open(&OpenContext::new("hsm", &self.folder)).await
    }

    /// The settings for a token of this name.
    fn settings_for(&self, token: TokenName) -> Pkcs11Settings {
        Pkcs11Settings { token, ..self.settings.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name)
    }

    fn logins(&self) -> usize {
        fs::read(self.path("logins")).map_or(0, |bytes| bytes.len())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_wrong_pin_of_any_length_is_tried_once() {
    let Some(scene) = Scene::of("a_wrong_pin_of_any_length_is_tried_once") else { return };
    let long = "7".repeat(255);
    let longer = "7".repeat(256);
    let longest = "7".repeat(1000);
    for pin in ["7", "864", "8642", "24680", "246", "8642-8642", "pïn", &long, &longer, &longest] {
        let before = scene.logins();
        let refused = scene.open(pin).await.err().unwrap();
        assert!(matches!(refused, BackendError::WrongSecret(_)), "{pin}: {refused:?}");
        let text = ErrorChain(&refused).to_string();
        assert!(text.contains(scene.token.label()) && !text.contains(pin) || pin == "7", "{text}");
        assert_eq!(scene.logins() - before, 1, "{pin}");
        // It is one try only if the right one sets the token's count back.
        scene.open(SoftHsm::PIN).await.unwrap().close().await;
    }
    // None at all is no PIN.
    let before = scene.logins();
    let refused = scene.open("").await.err().unwrap();
    assert!(!refused.is_retryable(), "{refused:?}");
    assert_eq!(scene.logins(), before);

    let records = paired(&[&scene.path("audit.log")]);
    let logins = outcomes(&records, "login");
    assert_eq!(logins.len(), scene.logins(), "each has a record: {logins:?}");
    assert_eq!(logins.iter().filter(|(_, outcome)| *outcome == "wrong_secret").count(), 10);
    println!("all as it should be");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn what_a_token_has_refused_is_tried_by_nobody_else() {
    let name = "what_a_token_has_refused_is_tried_by_nobody_else";
    let Some(scene) = Scene::of(name) else { return };
    let stranger = stranger::session;
    scene.open(SoftHsm::PIN).await.unwrap().close().await;
    let module = scene.path("libfaulty.so");
    let serial = {
        let session = stranger(&module, &scene.token).unwrap();
        let slot = session.get_session_info().unwrap().slot_id();
        let found = cryptoki::context::Pkcs11::new(&module).unwrap().get_token_info(slot);
        found.unwrap().serial_number().to_owned()
    };
    let link = scene.path("link.so");
    std::os::unix::fs::symlink(&module, &link).unwrap();
    let by_serial = scene.settings_for(TokenName::Serial(serial));
    let by_link = Pkcs11Settings { module: link, ..scene.settings.clone() };
    let before = scene.logins();
    for settings in [&scene.settings, &by_serial, &by_link] {
        let refused = scene.open_with(settings, "8642").await.err().unwrap();
        assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    }
    assert_eq!(scene.logins() - before, 1);
    // Another one is another matter, and another token.
    let refused = scene.open("97531").await.err().unwrap();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    let other = SoftHsm::start();
    let other = scene.settings_for(TokenName::Label(other.label().to_owned()));
    scene.open_with(&other, "8642").await.err().unwrap();
    assert_eq!(scene.logins() - before, 3);
    scene.open_with(&by_serial, SoftHsm::PIN).await.unwrap().close().await;
    println!("all as it should be");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn the_last_try_is_left_to_a_human() {
    let Some(scene) = Scene::of("the_last_try_is_left_to_a_human") else { return };
    fs::write(scene.path("final-try"), "").unwrap();
    let refused = scene.open(SoftHsm::PIN).await.err().unwrap();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert!(refused.to_string().contains(scene.token.label()), "{refused}");
    assert_eq!(scene.logins(), 0);
    // Who has logged in by hand has set the token's count back.
    fs::remove_file(scene.path("final-try")).unwrap();
    scene.open(SoftHsm::PIN).await.unwrap().close().await;
    assert!(scene.logins() > 0);
    println!("all as it should be");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_login_that_fails_for_no_reason_is_not_tried_again() {
    let name = "a_login_that_fails_for_no_reason_is_not_tried_again";
    let Some(scene) = Scene::of(name) else { return };
    // CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_VENDOR_DEFINED, CKR_PIN_LOCKED
    for answer in ["5", "6", "80000001", "a4"] {
        // Each with a token of its own: this one's PIN isn't tried again.
        let token = SoftHsm::start();
        let settings = scene.settings_for(TokenName::Label(token.label().to_owned()));
        fs::write(scene.path("answer"), answer).unwrap();
        let before = scene.logins();
        let refused = scene.open_with(&settings, SoftHsm::PIN).await.err().unwrap();
        assert!(!refused.is_retryable(), "{answer}: {refused:?}");
        assert!(ErrorChain(&refused).to_string().contains(token.label()), "{refused}");
        assert_eq!(scene.logins() - before, 1, "{answer}");
    }

    // What comes before the PIN passes, and is tried again: CKR_DEVICE_REMOVED.
    fs::write(scene.path("answer"), "32").unwrap();
    let before = scene.logins();
    let refused = scene.open(SoftHsm::PIN).await.err().unwrap();
    assert!(refused.is_retryable(), "{refused:?}");
    assert_eq!(scene.logins() - before, 4);

    // Somebody asks and asks, and the health is looked at meanwhile, when the login has ended.
    fs::remove_file(scene.path("answer")).unwrap();
    let hsm = scene.open(SoftHsm::PIN).await.unwrap();
    let mut spec = KeySpec::new(KeyId::new("node").unwrap(), KeyType::Ed25519);
    spec.if_missing = IfMissing::Generate;
    let key = hsm.register(&spec).await.unwrap();
    let Signer::Remote(signer) = key.signer else { panic!() };
    // By whom it ends, for every session of this process.
    let stranger = stranger::session(&scene.path("libfaulty.so"), &scene.token).unwrap();
    fs::write(scene.path("answer"), "5").unwrap();
    stranger.logout().unwrap();
    let refused = || async { signer.sign(SigningScheme::Ed25519, b"m").await.unwrap_err() };
    // A session says that there is no such key before it says that nobody is logged in.
    let at_last = async {
        while !matches!(refused().await, BackendError::WrongSecret(_)) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), at_last).await.unwrap();
    let tried = scene.logins();
    for _ in 0..20 {
        let refused = refused().await;
        assert!(!refused.is_retryable(), "{refused:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(scene.logins(), tried);
    println!("all as it should be");
}
