//! Keys that a token doesn't have yet are imported from their sources.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::Session;
use kms_backend::conformance::{self, Fixture, Provisioned};
use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, OpenContext,
    RegisteredKey, Signer, async_trait,
};
use kms_backend_pkcs11::Pkcs11Settings;
use kms_keys::{KeyId, KeyType, SecretKey};
use kms_peers::{SoftHsm, write_secret};
use kms_secrets::{Encoding, SecretSource};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "support/alone.rs"]
mod alone;
#[path = "support/log.rs"]
mod log;
#[path = "support/stranger.rs"]
mod stranger;

use alone::Alone;
use log::Log;

/// A token, and a folder for what settings point at.
struct Scene {
    token: SoftHsm,
    folder: TempDir,
    module: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let (token, folder) = (SoftHsm::start(), TempDir::new().unwrap());
        let scene = Self { token, folder, module: SoftHsm::module() };
        scene.write("pin", SoftHsm::PIN.as_bytes());
        scene
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        write_secret(&self.folder.path().join(name), bytes);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    /// A key with its secret in a file, and what it is to be.
    fn source(&self, id: &str, key_type: KeyType) -> (KeySpec, SecretKey) {
        let key = SecretKey::generate(key_type).unwrap();
        self.write(id, key.expose_secret().expose());
        let mut spec = KeySpec::new(KeyId::new(id).unwrap(), key_type);
        let path = self.folder.path().join(id);
        spec.source =
            Some(SecretSource::File { path, encoding: Some(Encoding::Raw), group_readable: false });
        (spec, key)
    }

    fn with(&self, keys: &Value) -> Pkcs11Settings {
        let section = json!({
            "module": self.module,
            "token": { "label": self.token.label() },
            "pin": { "file": "pin" },
            "keys": keys,
            "remote": {
                "retry": { "first": "20ms", "limit": 8 }, "health_interval": "50ms",
                "audit": { "file": "audit.log" }
            }
        });
        serde_json::from_value(section).unwrap()
    }

    async fn open(&self) -> Arc<dyn Backend> {
        self.with(&json!({})).open(&self.context()).await.unwrap()
    }

    /// Does `work` in a session of somebody else's in the token.
    fn with_session<T>(&self, work: impl Fn(&Session) -> Result<T, Error>) -> T {
        stranger::with(&self.module, &self.token, work)
    }

    /// How many public and private keys the token has.
    fn objects(&self) -> [usize; 2] {
        [ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY].map(|class| {
            self.with_session(|session| session.find_objects(&[Attribute::Class(class)])).len()
        })
    }
}

#[async_trait]
impl Fixture for Scene {
    type Settings = Pkcs11Settings;

    fn settings(&self) -> Pkcs11Settings {
        self.with(&json!({}))
    }

    fn context(&self) -> OpenContext {
        OpenContext::new("hsm", self.folder.path())
    }

    async fn provision(&self, id: KeyId, key_type: KeyType) -> Provisioned {
        let (spec, key) = self.source(id.as_str(), key_type);
        Provisioned { spec, public_key: Some(key.public_key()) }
    }

    fn absent(&self, id: KeyId, key_type: KeyType) -> KeySpec {
        KeySpec::new(id, key_type)
    }

    async fn damage(&self, _: &KeySpec) -> bool {
        false
    }
}

async fn proved(key: &RegisteredKey) {
    let Signer::Remote(signer) = &key.signer else { panic!("a key left the token") };
    for scheme in key.info.key_type.schemes().iter().take(2) {
        let signature = signer.sign(*scheme, &[7; 32]).await.unwrap();
        key.info.public_key.verify(*scheme, &[7; 32], &signature).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn imported_keys_keep_the_contract() {
    let _alone = Alone::wait();
    conformance::run(Scene::new(), Duration::from_secs(120)).await.assert_conformance();
}

#[tokio::test]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn an_imported_key_is_the_sources_and_stays_without_it() {
    let (_alone, scene) = (Alone::wait(), Scene::new());
    let hsm = scene.open().await;
    for (number, key_type) in [KeyType::Ed25519, KeyType::Secp256k1].into_iter().enumerate() {
        let id = format!("node/{key_type}");
        let (spec, key) = scene.source(&id, key_type);
        let log = Log::default();
        let listening = log.listen();
        let imported = hsm.register(&spec).await.unwrap();
        drop(listening);
        assert_eq!((imported.info.version, imported.older.len()), (1, 0));
        assert_eq!(imported.info.public_key, key.public_key());
        proved(&imported).await;
        let text = log.text();
        let told = text.lines().find(|line| line.contains("can be removed now")).unwrap();
        for part in
            ["INFO", &id, "imported into the token", &*scene.folder.path().to_string_lossy()]
        {
            assert!(told.contains(part), "{part}: {text}");
        }
        assert_eq!(scene.objects(), [number + 1; 2]);

        let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(id.into())];
        let asked = [
            AttributeType::Token,
            AttributeType::Private,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::Sign,
            AttributeType::Id,
            AttributeType::Value,
        ];
        let expected = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Id(vec![0, 0, 0, 1]),
        ];
        let says = scene.with_session(|session| {
            let [private] = session.find_objects(&wanted)?[..] else { panic!() };
            session.get_attributes(private, &asked)
        });
        assert_eq!(says, expected);

        // What is there is not read again: neither what is missing nor what is another key.
        scene.source(spec.id.as_str(), key_type);
        let found = hsm.register(&spec).await.unwrap();
        assert_eq!(found.info, imported.info);
        scene.remove(spec.id.as_str());
        let found = scene.open().await.register(&spec).await.unwrap();
        assert_eq!(found.info, imported.info);
        proved(&found).await;
        let without = KeySpec::new(spec.id, key_type);
        assert_eq!(hsm.register(&without).await.unwrap().info, found.info);
    }
    let log = fs::read_to_string(scene.folder.path().join("audit.log")).unwrap();
    assert_eq!(log.matches(r#""operation":"import""#).count(), 4, "{log}");
    assert!(!log.contains(r#""operation":"generate""#), "{log}");

    // It is this service's from then on.
    let id = KeyId::new("node/ed25519").unwrap();
    let rotated = hsm.rotate(&id).await.unwrap();
    assert_eq!((rotated.info.version, rotated.older.len()), (2, 1));
    proved(&rotated).await;
    hsm.destroy(&id).await.unwrap();
    assert_eq!(scene.objects(), [1; 2]);
    hsm.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_source_comes_before_generating_and_what_it_lacks_is_not_made_up() {
    let (_alone, scene) = (Alone::wait(), Scene::new());
    let named = json!({ "named": { "label": "nobody" } });
    let hsm = scene.with(&named).open(&scene.context()).await.unwrap();

    let (mut spec, key) = scene.source("both", KeyType::Ed25519);
    spec.if_missing = IfMissing::Generate;
    assert_eq!(hsm.register(&spec).await.unwrap().info.public_key, key.public_key());
    assert_eq!(scene.objects(), [1; 2]);

    let (mut gone, _) = scene.source("gone", KeyType::Ed25519);
    gone.if_missing = IfMissing::Generate;
    scene.remove("gone");
    let (mut broken, _) = scene.source("broken", KeyType::Secp256k1);
    broken.if_missing = IfMissing::Generate;
    scene.write("broken", &[0; 32]);
    let (mut pinned, _) = scene.source("pinned", KeyType::Ed25519);
    pinned.public_key = Some(key.public_key());
    let (open, _) = scene.source("open", KeyType::Ed25519);
    let mode = Permissions::from_mode(0o644);
    fs::set_permissions(scene.folder.path().join("open"), mode).unwrap();
    let (named, _) = scene.source("named", KeyType::Ed25519);
    let mut unset = KeySpec::new(KeyId::new("unset").unwrap(), KeyType::Ed25519);
    unset.source = Some(SecretSource::Env { name: "KMS_TEST_NO_SUCH_KEY".into(), encoding: None });
    type Class = fn(&BackendError) -> bool;
    let cases: [(KeySpec, Class, &str); 6] = [
        (gone, |it| matches!(it, BackendError::NotFound(_)), "gone does not exist"),
        (broken, |it| matches!(it, BackendError::Corrupt(_)), "holds no secp256k1 key"),
        (pinned, |it| matches!(it, BackendError::WrongSecret(_)), "it is not imported"),
        (open, |it| matches!(it, BackendError::Misconfigured(_)), "open"),
        (named, |it| matches!(it, BackendError::NotFound(_)), "label nobody"),
        (unset, |it| matches!(it, BackendError::NotFound(_)), "KMS_TEST_NO_SUCH_KEY"),
    ];
    for (spec, class, expected) in cases {
        let error = hsm.register(&spec).await.unwrap_err();
        let text = ErrorChain(&error).to_string();
        assert!(class(&error), "{}: {error:?}", spec.id);
        assert!(text.contains(expected), "{}: {text}", spec.id);
    }
    assert_eq!(scene.objects(), [1; 2]);
    hsm.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn who_imports_and_who_generates_at_once_get_the_same_key() {
    let (_alone, scene) = (Alone::wait(), Scene::new());
    let (one, other) = (scene.open().await, scene.open().await);
    for number in 0..10 {
        let (imported, _) = scene.source(&format!("node/{number}"), KeyType::Ed25519);
        let mut second = imported.clone();
        // Every other time, both import.
        if number % 2 == 0 {
            (second.source, second.if_missing) = (None, IfMissing::Generate);
        }
        let (a, b) = tokio::join!(one.register(&imported), other.register(&second));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.info.public_key, b.info.public_key, "{number}");
        proved(&a).await;
        proved(&b).await;
        assert_eq!(scene.objects(), [number + 1; 2]);
    }
    one.close().await;
    other.close().await;
}

/// What a module is told by the environment, it is told for a whole process: the scene is this test program,
/// started again.
const FOLDER: &str = "IMPORTING_FOLDER";

fn again(name: &str) {
    let folder = TempDir::new().unwrap();
    let mut scene = Command::new(std::env::current_exe().unwrap());
    scene.args(["--exact", name, "--ignored", "--nocapture"]);
    scene.env(FOLDER, folder.path()).env("FAULTY_MODULE", SoftHsm::module());
    for (variable, file) in [
        ("NO_PRIVATE_KEYS_WHILE", "no-private-keys"),
        ("NO_CHANGES_WHILE", "no-changes"),
        ("BEND_WHILE", "bend"),
    ] {
        scene.env(variable, folder.path().join(file));
    }
    let output = scene.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all as it should be"), "{said}{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_token_that_takes_no_keys_or_errs_keeps_nothing() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return again("a_token_that_takes_no_keys_or_errs_keeps_nothing");
    };
    let folder = Path::new(&folder);
    let scene = Scene { module: SoftHsm::faulty_module(folder), ..Scene::new() };
    let hsm = scene.open().await;
    for key_type in [KeyType::Ed25519, KeyType::Secp256k1] {
        let (spec, key) = scene.source(&format!("node/{key_type}"), key_type);
        let mut generated = KeySpec::new(KeyId::new("generated").unwrap(), key_type);
        generated.if_missing = IfMissing::Generate;
        type Class = fn(&BackendError) -> bool;
        let cases: [(&str, &KeySpec, Class, &[&str]); 5] = [
            (
                "no-private-keys",
                &spec,
                |it| matches!(it, BackendError::Denied(_)),
                &["can't import", "C_CreateObject", "private key", "CKA_SENSITIVE", "CKA_VALUE"],
            ),
            (
                "no-changes",
                &spec,
                |it| matches!(it, BackendError::Misconfigured(_)),
                &["can't import", "`CKA_ID` can't be changed"],
            ),
            (
                "no-changes",
                &generated,
                |it| matches!(it, BackendError::Misconfigured(_)),
                &["can't generate", "`CKA_ID` can't be changed"],
            ),
            (
                "bend",
                &spec,
                |it| matches!(it, BackendError::Corrupt(_)),
                &["can't import", "test signature"],
            ),
            (
                "bend",
                &generated,
                |it| matches!(it, BackendError::Corrupt(_)),
                &["can't generate", "test signature"],
            ),
        ];
        let before = scene.objects();
        for (file, spec, class, parts) in cases {
            fs::write(folder.join(file), "").unwrap();
            let error = hsm.register(spec).await.unwrap_err();
            let text = ErrorChain(&error).to_string();
            assert!(class(&error), "{file}: {error:?}");
            for part in [parts, &[spec.id.as_str()]].concat() {
                assert!(text.contains(part), "{file}: {part}: {text}");
            }
            fs::remove_file(folder.join(file)).unwrap();
            assert_eq!(scene.objects(), before, "{file}");
        }
        // The source is still good for a token that does as it should.
        let imported = hsm.register(&spec).await.unwrap();
        assert_eq!(imported.info.public_key, key.public_key());
        proved(&imported).await;
    }
    hsm.close().await;
    println!("all as it should be");
}
