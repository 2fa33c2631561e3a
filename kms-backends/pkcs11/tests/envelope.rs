//! A keystore that an AES key in a token opens.

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

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, OpenContext, Request,
};
use kms_backend_keystore::{
    External, KeystoreSettings, Store, UnlockSecret, UnlockSettings, inspect_header,
};
use kms_backend_pkcs11::Pkcs11Unlock;
use kms_keys::{KeyId, KeyType};
use kms_peers::{SoftHsm, write_secret};
use kms_secrets::SecretArray;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "support/alone.rs"]
mod alone;
#[path = "support/stranger.rs"]
mod stranger;

const LABEL: &str = "store key";

/// A token, and a folder for the store.
struct Scene {
    token: SoftHsm,
    folder: TempDir,
    module: PathBuf,
    _alone: alone::Alone,
}

impl Scene {
    fn new() -> Self {
        let _alone = alone::Alone::wait();
        let (token, folder) = (SoftHsm::start(), TempDir::new().unwrap());
        let scene = Self { token, folder, module: SoftHsm::module(), _alone };
        scene.write_pin(SoftHsm::PIN);
        scene
    }

    fn write_pin(&self, pin: &str) {
        write_secret(&self.folder.path().join("pin"), pin);
    }

    fn unlock(&self, more: Value) -> Pkcs11Unlock {
        let mut section = json!({
            "module": self.module,
            "token": { "label": self.token.label() },
            "pin": { "file": "pin" },
            "key": LABEL,
            "remote": { "retry": { "first": "10ms", "limit": 3 } },
        });
        for (name, value) in more.as_object().unwrap() {
            section[name] = value.clone();
        }
        serde_json::from_value(section).unwrap()
    }

    async fn open_with(&self, more: Value) -> Result<Arc<dyn Backend>, BackendError> {
        let (path, if_missing) = ("store".into(), IfMissing::Generate);
        let unlock = self.unlock(more);
        let settings = KeystoreSettings { path, unlock, create: true, if_missing };
        settings.open(&self.context()).await
    }

    /// Makes the key in the token if it isn't there.
    async fn make(&self) -> Arc<dyn Backend> {
        self.open_with(json!({ "if_missing": "generate" })).await.unwrap()
    }

    async fn open(&self) -> Result<Arc<dyn Backend>, BackendError> {
        self.open_with(json!({})).await
    }

    async fn refused(&self) -> (BackendError, String) {
        let refused = self.open().await.err().unwrap();
        let text = ErrorChain(&refused).to_string();
        (refused, text)
    }

    async fn external(&self, more: Value) -> External {
        let secret = self.unlock(more).secret(&self.context()).await.unwrap();
        let UnlockSecret::External(external) = secret else { panic!() };
        external
    }

    fn context(&self) -> OpenContext {
        OpenContext::new("store", self.folder.path())
    }

    /// A session of somebody else's in the token.
    fn session(&self) -> Session {
        stranger::session(&self.module, &self.token).unwrap()
    }
}

fn keys(session: &Session) -> Vec<ObjectHandle> {
    let label = Attribute::Label(LABEL.into());
    session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY), label]).unwrap()
}

fn aes(session: &Session, more: &[Attribute]) -> ObjectHandle {
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::ValueLen(32u64.into()),
        Attribute::Label(LABEL.into()),
    ];
    template.extend_from_slice(more);
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap()
}

const GUARDED: [Attribute; 2] = [Attribute::Sensitive(true), Attribute::Extractable(false)];
const OPEN: [Attribute; 2] = [Attribute::Sensitive(true), Attribute::Extractable(true)];

async fn close(backend: Arc<dyn Backend>) {
    backend.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_store_opens_by_itself_until_the_key_is_taken_away() {
    let scene = Scene::new();
    // No key is made unless that is meant, and no store without one.
    let (refused, text) = scene.refused().await;
    assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
    assert!(text.contains(LABEL) && text.contains(scene.token.label()), "{text}");
    assert!(!scene.folder.path().join("store").exists());

    let backend = scene.make().await;
    let mut public_keys = Vec::new();
    for key_type in [KeyType::Ed25519, KeyType::Secp256k1, KeyType::Bls12381] {
        let mut spec = KeySpec::new(KeyId::new(key_type.as_str()).unwrap(), key_type);
        spec.if_missing = IfMissing::Generate;
        public_keys.push((spec.clone(), backend.register(&spec).await.unwrap().info.public_key));
    }
    close(backend).await;
    let backend = scene.open().await.unwrap();
    for (mut spec, public_key) in public_keys {
        spec.if_missing = IfMissing::Fail;
        assert_eq!(backend.register(&spec).await.unwrap().info.public_key, public_key);
    }
    close(backend).await;

    // It can't be read, nor does it get other keys out.
    let session = scene.session();
    let [key] = keys(&session)[..] else { panic!() };
    let wanted = [
        AttributeType::Sensitive,
        AttributeType::NeverExtractable,
        AttributeType::AlwaysSensitive,
        AttributeType::Wrap,
        AttributeType::Unwrap,
        AttributeType::Value,
    ];
    let expected = [
        Attribute::Sensitive(true),
        Attribute::NeverExtractable(true),
        Attribute::AlwaysSensitive(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
    ];
    assert_eq!(session.get_attributes(key, &wanted).unwrap(), expected);

    session.destroy_object(key).unwrap();
    let (refused, text) = scene.refused().await;
    assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
    for part in ["unlocker \"first\"", "pkcs11", LABEL, scene.token.label(), "no such key"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Opening makes no key, whatever the settings say; another key under the name is none.
    let refused = scene.open_with(json!({ "if_missing": "generate" })).await.err().unwrap();
    assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
    assert!(keys(&session).is_empty());
    aes(&session, &GUARDED);
    let (refused, text) = scene.refused().await;
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    assert!(text.contains("another key"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_sealed_key_is_bound_to_its_store() {
    let scene = Scene::new();
    let external = scene.external(json!({ "if_missing": "generate" })).await;
    let key = SecretArray::init_with(|key| key.fill(0x5a));
    let sealed = external.unlocker().seal(&key, b"one store").await.unwrap();
    assert_eq!(sealed.len(), 12 + 32 + 16);
    let opened = external.unlocker().open(&sealed, b"one store").await.unwrap();
    assert_eq!(opened.expose(), key.expose());
    assert_ne!(external.unlocker().seal(&key, b"one store").await.unwrap(), sealed);
    for (sealed, bound) in [
        (sealed.clone(), &b"other store"[..]),
        (Vec::new(), b"one store"),
        (sealed[..11].to_vec(), b"one store"),
        (sealed[..12].to_vec(), b"one store"),
        (sealed[..40].to_vec(), b"one store"),
        (vec![0; 8192], b"one store"),
    ] {
        let refused = external.unlocker().open(&sealed, bound).await.unwrap_err();
        assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    }
    for at in [0, 11, 12, 43, 44, 59] {
        let mut bent = sealed.clone();
        bent[at] ^= 1;
        let refused = external.unlocker().open(&bent, b"one store").await.unwrap_err();
        assert!(matches!(refused, BackendError::WrongSecret(_)), "{at}: {refused:?}");
    }
    // The token is as good as before.
    external.unlocker().open(&sealed, b"one store").await.unwrap();
    external.unlocker().close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_key_that_does_not_fit_is_named() {
    let scene = Scene::new();
    close(scene.make().await).await;
    let session = scene.session();
    let own = keys(&session)[0];
    // Whoever else has the name is in nobody's way, and no help either.
    let others = [aes(&session, &GUARDED), aes(&session, &OPEN), aes(&session, &GUARDED)];
    close(scene.open().await.unwrap()).await;
    session.destroy_object(own).unwrap();
    let (refused, _) = scene.refused().await;
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    for other in others {
        session.destroy_object(other).unwrap();
    }

    for more in [[Attribute::Sensitive(false), Attribute::Extractable(false)], OPEN] {
        let key = aes(&session, &more);
        let (refused, text) = scene.refused().await;
        assert!(matches!(refused, BackendError::Misconfigured(_)), "{refused:?}");
        assert!(text.contains("may leave the token"), "{text}");
        session.destroy_object(key).unwrap();
    }
    let key = aes(&session, &[GUARDED.as_slice(), &[Attribute::Decrypt(false)]].concat());
    let (refused, text) = scene.refused().await;
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert!(text.contains(LABEL) && text.contains("CKA_DECRYPT is false"), "{text}");
    session.destroy_object(key).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_token_that_is_not_there_is_waited_for() {
    let scene = Scene::new();
    close(scene.make().await).await;
    for (more, expected, retryable) in [
        (json!({ "module": "/nowhere/module.so" }), "/nowhere/module.so", false),
        (json!({ "token": { "label": "no-such-token" } }), "no-such-token", true),
        (json!({ "pin": { "file": "no-pin" } }), "no-pin", false),
    ] {
        let refused = scene.open_with(more).await.err().unwrap();
        assert_eq!(refused.is_retryable(), retryable, "{refused:?}");
        assert!(ErrorChain(&refused).to_string().contains(expected), "{refused:?}");
    }
    close(scene.open().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn requests_are_recorded_and_the_header_says_which_key_and_not_where() {
    let scene = Scene::new();
    let more = json!({ "if_missing": "generate", "remote": { "audit": { "file": "audit.log" } } });
    close(scene.open_with(more).await.unwrap()).await;
    let log = fs::read_to_string(scene.folder.path().join("audit.log")).unwrap();
    let (logins, told): (Vec<_>, Vec<_>) = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["event"] == "response")
        .partition(|line| line["operation"] == "login");
    // Of each thread that had something to do.
    assert!((1..=4).contains(&logins.len()) && logins.iter().all(|login| login["outcome"] == "ok"));
    let told: Vec<_> = told
        .into_iter()
        .map(|line| [line["operation"].clone(), line["key"].clone(), line["outcome"].clone()])
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["look", LABEL, "ok"],
            ["generate", LABEL, "ok"],
            ["look", LABEL, "ok"],
            ["encrypt", LABEL, "ok"],
            ["decrypt", LABEL, "ok"],
        ])
    );

    let secret = UnlockSecret::External(scene.external(json!({})).await);
    let path = scene.folder.path().join("store");
    let opening = tokio::task::spawn_blocking(move || {
        let store = Store::open(&path, &secret).unwrap();
        (serde_json::to_value(store.unlockers()).unwrap(), secret)
    });
    let (header, secret) = opening.await.unwrap();
    secret.close().await;
    let kind = json!({"external": {"provider": "pkcs11", "parameters": {"key": LABEL}}});
    assert_eq!(header[0]["kind"], kind);
    let whole = json!({"version": 1, "store": "00".repeat(16), "unlockers": header});
    inspect_header(&serde_json::to_vec(&whole).unwrap()).unwrap();
}

/// What a module is told by the environment, it is told for a whole process: these scenes are this test
/// program, started again.
const FOLDER: &str = "ENVELOPE_FOLDER";

/// Starts the test called `name` again, with a module in `folder` that hangs and counts.
fn again(name: &str) -> Duration {
    let folder = TempDir::new().unwrap();
    let (conf, tokens) = (folder.path().join("softhsm2.conf"), folder.path().join("tokens"));
    fs::create_dir(&tokens).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    let mut scene = Command::new(std::env::current_exe().unwrap());
    scene.args(["--exact", name, "--ignored", "--nocapture"]);
    // Tokens of its own: a process that lists them minds those that go away meanwhile.
    scene.env("SOFTHSM2_CONF", conf);
    scene.env(FOLDER, folder.path());
    scene.env("HANG_WHILE", folder.path().join("hang"));
    scene.env("COUNT_LOGINS", folder.path().join("logins"));
    scene.env("FAULTY_MODULE", SoftHsm::module());
    let begun = Instant::now();
    let output = scene.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all as it should be"), "{said}{log}");
    begun.elapsed()
}

fn again_in() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn hanging(folder: &Path) -> Scene {
    Scene { module: SoftHsm::faulty_module(folder), ..Scene::new() }
}

fn logins(folder: &Path) -> usize {
    fs::read(folder.join("logins")).map_or(0, |bytes| bytes.len())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_wrong_pin_is_tried_exactly_once() {
    let Some(folder) = again_in() else {
        again("a_wrong_pin_is_tried_exactly_once");
        return;
    };
    let scene = hanging(&folder);
    close(scene.make().await).await;
    scene.write_pin("8642");
    let before = logins(&folder);
    let (refused, text) = scene.refused().await;
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    assert!(text.contains(scene.token.label()) && !text.contains("8642"), "{text}");
    assert_eq!(logins(&folder) - before, 1);

    // Nor by another, who opens many times.
    let external = scene.external(json!({})).await;
    for _ in 0..3 {
        let refused = external.unlocker().open(&[0; 60], b"x").await.unwrap_err();
        assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    }
    external.unlocker().close().await;
    assert_eq!(logins(&folder) - before, 1);
    scene.write_pin(SoftHsm::PIN);
    close(scene.open().await.unwrap()).await;
    println!("all as it should be");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_module_that_hangs_keeps_neither_the_opening_nor_the_process() {
    let Some(folder) = again_in() else {
        // Nothing removes the file that the module hangs for.
        let took = again("a_module_that_hangs_keeps_neither_the_opening_nor_the_process");
        assert!(took < Duration::from_secs(60), "{took:?}");
        return;
    };
    let scene = hanging(&folder);
    close(scene.make().await).await;
    fs::write(folder.join("hang"), "").unwrap();
    let remote = json!({ "remote": { "timeout": "300ms", "retry": { "first": "10ms" } } });
    let begun = Instant::now();
    let refused = scene.open_with(remote).await.err().unwrap();
    assert!(matches!(refused, BackendError::Unavailable(_)), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    // No longer than the start may take.
    let begun = Instant::now();
    let until = begun + Duration::from_millis(200);
    let refused = Request::until(until).scope(scene.open()).await.err().unwrap();
    assert!(matches!(refused, BackendError::Unavailable(_)), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    println!("all as it should be");
}
