//! AES keys that encrypt other keys, made once whoever makes them, and however badly.

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
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use kms_backend::{BackendError, ErrorChain, OpenContext};
use kms_backend_keystore::{ExternalUnlocker, UnlockSecret, UnlockSettings};
use kms_backend_pkcs11::Pkcs11Unlock;
use kms_peers::{SoftHsm, write_secret};
use kms_secrets::SecretArray;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "support/alone.rs"]
mod alone;
#[path = "support/other.rs"]
mod other;
#[path = "support/stranger.rs"]
mod stranger;
use other::Other;

/// Where the module that holds keys back is built and told to, for a process of its own.
const FOLDER: &str = "WRAPPING_FOLDER";

const ROUNDS: u64 = 30;

/// When others may take a key that is being made for abandoned.
const TOO_LATE: Duration = Duration::from_millis(6500);

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever seals by the key with this label, which is made if it isn't there.
async fn unlocker(
    module: &Path,
    token: &str,
    folder: &Path,
    label: &str,
) -> Arc<dyn ExternalUnlocker> {
    let remote = json!({ "retry": { "first": "20ms", "limit": 10 } });
    unlocker_with(&remote, module, token, folder, label).await
}

async fn unlocker_with(
    remote: &Value,
    module: &Path,
    token: &str,
    folder: &Path,
    label: &str,
) -> Arc<dyn ExternalUnlocker> {
    let unlock: Pkcs11Unlock = serde_json::from_value(json!({
        "module": module,
        "token": { "label": token },
        "pin": { "file": "pin" },
        "key": label,
        "if_missing": "generate",
        "remote": remote,
    }))
    .unwrap();
    let secret = unlock.secret(&OpenContext::new("store", folder)).await.unwrap();
    let UnlockSecret::External(external) = secret else { panic!() };
    Arc::clone(external.unlocker())
}

fn secret() -> SecretArray<32> {
    SecretArray::init_with(|key| key.fill(0x5a))
}

/// What the key with this label makes of a secret after a moment; nothing when somebody else was in the way.
async fn seal(token: &str, folder: &Path, label: &str, wait: u64) -> Option<Vec<u8>> {
    let unlocker = unlocker(&SoftHsm::module(), token, folder, label).await;
    tokio::time::sleep(Duration::from_millis(wait)).await;
    let sealed = unlocker.seal(&secret(), b"x").await;
    unlocker.close().await;
    match sealed {
        Ok(sealed) => Some(sealed),
        Err(error) if error.is_retryable() => {
            eprintln!("{label}: {}", ErrorChain(&error));
            None
        }
        Err(error) => panic!("{label}: {error:?}"),
    }
}

/// The `CKA_ID`s of the keys with this label.
fn cka_ids(module: &Path, token: &SoftHsm, label: &str) -> Vec<Attribute> {
    let wanted =
        [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(label.as_bytes().to_vec())];
    stranger::with(module, token, |session| {
        let mut cka_ids = Vec::new();
        for key in session.find_objects(&wanted)? {
            cka_ids.extend(session.get_attributes(key, &[AttributeType::Id])?);
        }
        Ok(cka_ids)
    })
}

/// As the first version of a key is called.
fn made() -> Vec<Attribute> {
    vec![Attribute::Id(vec![0, 0, 0, 1])]
}

async fn other_process(token: &str, folder: &Path) {
    for order in other::orders() {
        let (label, wait) = order.rsplit_once(' ').unwrap();
        let sealed = seal(token, folder, label, wait.parse().unwrap()).await;
        other::answer(&serde_json::to_string(&sealed).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn two_processes_that_seal_at_once_make_one_key() {
    if let Some((token, folder)) = Other::here() {
        return other_process(&token, folder.as_ref()).await;
    }
    let (_alone, token, folder) = (alone::Alone::wait(), SoftHsm::start(), TempDir::new().unwrap());
    write_secret(&folder.path().join("pin"), SoftHsm::PIN);
    let name = "two_processes_that_seal_at_once_make_one_key";
    let mut other = Other::start(name, &token, folder.path());
    let label = |round| format!("store key {round}");
    let mut given = Vec::new();
    for round in 0..ROUNDS {
        let wait = round * 13 % 149;
        let (here, there) = if round % 4 < 2 { (wait, 0) } else { (0, wait) };
        other.order(&format!("{} {there}", label(round)));
        let here = seal(token.label(), folder.path(), &label(round), here).await;
        let there: Option<Vec<u8>> = serde_json::from_str(&other.answer()).unwrap();
        assert!(here.is_some() || there.is_some(), "round {round}: nobody has a key");
        given.push([here, there]);
    }
    other.end();

    // Whatever it showed before, of all that is there now:
    let module = Pkcs11::new(SoftHsm::module()).unwrap();
    module.clone().finalize().unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    for (round, sealed) in (0..).zip(given) {
        assert_eq!(cka_ids(&SoftHsm::module(), &token, &label(round)), made(), "round {round}");
        let unlocker =
            unlocker(&SoftHsm::module(), token.label(), folder.path(), &label(round)).await;
        for sealed in sealed.into_iter().flatten() {
            let opened = unlocker.open(&sealed, b"x").await.unwrap();
            assert_eq!(opened.expose(), secret().expose());
        }
        unlocker.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_key_that_is_made_after_it_was_given_up_is_not_a_second_one() {
    let name = "a_key_that_is_made_after_it_was_given_up_is_not_a_second_one";
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return again(name) };
    let (token, module) = (SoftHsm::start(), SoftHsm::faulty_module(&folder));
    write_secret(&folder.join("pin"), SoftHsm::PIN);
    let unlocker = unlocker(&module, token.label(), &folder, "store key").await;
    fs::write(folder.join("next"), "").unwrap();
    // The first try gets no answer.
    let sealed = unlocker.seal(&secret(), b"x").await.unwrap();
    fs::remove_file(folder.join("held")).unwrap();
    let until = Instant::now() + PATIENCE;
    while !folder.join("done").exists() || cka_ids(&module, &token, "store key") != made() {
        assert!(Instant::now() < until, "{:?}", cka_ids(&module, &token, "store key"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(unlocker.open(&sealed, b"x").await.unwrap().expose(), secret().expose());
    unlocker.seal(&secret(), b"x").await.unwrap();
    unlocker.close().await;
    println!("all as it should be");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn what_a_token_was_too_slow_to_make_is_no_key_and_does_not_stay() {
    let name = "what_a_token_was_too_slow_to_make_is_no_key_and_does_not_stay";
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return again(name) };
    let (token, module) = (SoftHsm::start(), SoftHsm::faulty_module(&folder));
    write_secret(&folder.join("pin"), SoftHsm::PIN);
    let once = json!({ "timeout": "60s", "retry": { "limit": 1 } });
    let unlocker = unlocker_with(&once, &module, token.label(), &folder, "store key").await;
    fs::write(folder.join("next"), "").unwrap();
    let (secret, release) = (secret(), async {
        tokio::time::sleep(TOO_LATE).await;
        fs::remove_file(folder.join("held")).unwrap();
    });
    let (late, ()) = tokio::join!(unlocker.seal(&secret, b"x"), release);
    let late = late.unwrap_err();
    assert!(matches!(late, BackendError::Unavailable(_)), "{late:?}");
    assert!(late.to_string().contains("took the token longer than 6s"), "{late}");
    assert_eq!(cka_ids(&module, &token, "store key"), []);

    let sealed = unlocker.seal(&secret, b"x").await.unwrap();
    assert_eq!(unlocker.open(&sealed, b"x").await.unwrap().expose(), secret.expose());
    assert_eq!(cka_ids(&module, &token, "store key"), made());
    unlocker.close().await;
    println!("all as it should be");
}

/// Starts the test called `name` once more, with a module that holds keys back.
fn again(name: &str) {
    let folder = TempDir::new().unwrap();
    let (conf, tokens) = (folder.path().join("softhsm2.conf"), folder.path().join("tokens"));
    fs::create_dir(&tokens).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    let mut scene = Command::new(std::env::current_exe().unwrap());
    scene.args(["--exact", name, "--ignored", "--nocapture"]);
    scene.env("SOFTHSM2_CONF", conf).env("FAULTY_MODULE", SoftHsm::module());
    scene.env(FOLDER, folder.path()).env("HOLD_NEXT_IN", folder.path());
    let output = scene.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all as it should be"), "{said}{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn nothing_is_sealed_while_it_is_not_certain_by_which_key() {
    let (_alone, token, folder) = (alone::Alone::wait(), SoftHsm::start(), TempDir::new().unwrap());
    write_secret(&folder.path().join("pin"), SoftHsm::PIN);
    let unlocker = unlocker(&SoftHsm::module(), token.label(), folder.path(), "store key").await;
    let sealed = unlocker.seal(&secret(), b"x").await.unwrap();
    let wanted = [Attribute::Class(ObjectClass::SECRET_KEY)];
    stranger::with(&SoftHsm::module(), &token, |session| {
        let own = session.find_objects(&wanted)?[0];
        session.copy_object(own, &[Attribute::Id(vec![0xa, 0xb])]).map(drop)
    });
    let refused = unlocker.seal(&secret(), b"x").await.unwrap_err();
    assert!(matches!(refused, BackendError::Misconfigured(_)), "{refused:?}");
    for part in ["2 keys of this label", "0x00000001", "0x0a0b", "store key"] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
    assert_eq!(unlocker.open(&sealed, b"x").await.unwrap().expose(), secret().expose());
    unlocker.close().await;
}
