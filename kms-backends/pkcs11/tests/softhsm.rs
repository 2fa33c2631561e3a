//! The backend on real tokens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::sync::Arc;
use std::time::Duration;

use kms_backend::conformance::{self, Fixture, Provisioned};
use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, HealthLevel, IfMissing, KeySpec,
    OpenContext, RegisteredKey, Signer, async_trait,
};
use kms_backend_pkcs11::Pkcs11Settings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use kms_peers::{SoftHsm, write_secret};
use tempfile::TempDir;

/// A token, and settings that use it.
struct Scene {
    token: SoftHsm,
    folder: TempDir,
    settings: Pkcs11Settings,
}

impl Scene {
    fn new() -> Self {
        let (token, folder) = (SoftHsm::start(), TempDir::new().unwrap());
        write_pin(&folder, SoftHsm::PIN);
        let json = serde_json::json!({
            "module": SoftHsm::module(),
            "token": { "label": token.label() },
            "pin": { "file": "pin" },
            "remote": { "retry": { "first": "20ms", "limit": 8 }, "health_interval": "50ms" }
        });
        let settings = serde_json::from_value(json).unwrap();
        Self { token, folder, settings }
    }

    async fn open(&self) -> Result<Arc<dyn Backend>, BackendError> {
        self.settings.open(&OpenContext::new("hsm", self.folder.path())).await
    }
}

fn write_pin(folder: &TempDir, pin: &str) {
    write_secret(&folder.path().join("pin"), pin);
}

fn generated(id: &str, key_type: KeyType) -> KeySpec {
    let mut spec = KeySpec::new(KeyId::new(id).unwrap(), key_type);
    spec.if_missing = IfMissing::Generate;
    spec
}

/// Signs with the key and verifies.
async fn proved(key: &RegisteredKey, scheme: SigningScheme) -> Result<(), BackendError> {
    let Signer::Remote(signer) = &key.signer else { panic!("a key left the token") };
    let message = [7; 32];
    let signature = signer.sign(scheme, &message).await?;
    key.info.public_key.verify(scheme, &message, &signature).unwrap();
    Ok(())
}

#[async_trait]
impl Fixture for Scene {
    type Settings = Pkcs11Settings;

    fn settings(&self) -> Pkcs11Settings {
        self.settings.clone()
    }

    fn context(&self) -> OpenContext {
        OpenContext::new("hsm", self.folder.path())
    }

    async fn provision(&self, id: KeyId, key_type: KeyType) -> Provisioned {
        let mut spec = KeySpec::new(id, key_type);
        spec.if_missing = IfMissing::Generate;
        Provisioned { spec, public_key: None }
    }

    fn absent(&self, id: KeyId, key_type: KeyType) -> KeySpec {
        KeySpec::new(id, key_type)
    }

    async fn damage(&self, _: &KeySpec) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn pkcs11_keeps_the_contract() {
    conformance::run(Scene::new(), Duration::from_secs(120)).await.assert_conformance();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn keys_are_made_found_again_and_rotated() {
    let scene = Scene::new();
    let hsm = scene.open().await.unwrap();
    let id = KeyId::new("node/identity").unwrap();
    let made = hsm.register(&generated("node/identity", KeyType::Ed25519)).await.unwrap();
    proved(&made, SigningScheme::Ed25519).await.unwrap();
    let rotated = hsm.rotate(&id).await.unwrap();
    assert_eq!(rotated.info.version, 2);
    assert_ne!(rotated.info.public_key, made.info.public_key);

    let secp = hsm.register(&generated("proposer", KeyType::Secp256k1)).await.unwrap();
    for scheme in [SigningScheme::EcdsaSha256, SigningScheme::EcdsaDigest] {
        // About half of what the token gives has a high s.
        for _ in 0..20 {
            proved(&secp, scheme).await.unwrap();
        }
    }

    let again = scene.open().await.unwrap();
    let found = again.register(&KeySpec::new(id, KeyType::Ed25519)).await.unwrap();
    assert_eq!(found.info, rotated.info);
    let older = &found.older[0];
    assert_eq!((older.version, older.signer.public_key()), (1, &made.info.public_key));
    let Signer::Remote(first) = &older.signer else { panic!() };
    let signature = first.sign(SigningScheme::Ed25519, b"m").await.unwrap();
    made.info.public_key.verify(SigningScheme::Ed25519, b"m", &signature).unwrap();

    again.destroy(&KeyId::new("node/identity").unwrap()).await.unwrap();
    let spec = KeySpec::new(KeyId::new("node/identity").unwrap(), KeyType::Ed25519);
    let gone = again.register(&spec).await.unwrap_err();
    assert!(matches!(gone, BackendError::NotFound(_)), "{gone:?}");
    let gone = proved(&found, SigningScheme::Ed25519).await.unwrap_err();
    assert!(matches!(gone, BackendError::NotFound(_)), "{gone:?}");

    let other_type = KeySpec::new(KeyId::new("proposer").unwrap(), KeyType::Ed25519);
    let refused = again.register(&other_type).await.unwrap_err();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    hsm.close().await;
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_wrong_pin_is_tried_once() {
    let scene = Scene::new();
    write_pin(&scene.folder, "8642");
    let refused = scene.open().await.err().unwrap();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    let text = ErrorChain(&refused).to_string();
    assert!(text.contains(scene.token.label()) && !text.contains("8642"), "{text}");
    // The token says so when a PIN was wrong since the last good one: one try, and no last one.
    let module = cryptoki::context::Pkcs11::new(SoftHsm::module()).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let tokens = slots.into_iter().map(|slot| module.get_token_info(slot).unwrap());
    let token = tokens.into_iter().find(|token| token.label() == scene.token.label()).unwrap();
    assert!(!token.user_pin_final_try() && !token.user_pin_locked());

    write_pin(&scene.folder, SoftHsm::PIN);
    scene.open().await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn what_is_missing_is_named() {
    let scene = Scene::new();
    for (field, value, expected, retryable) in [
        ("module", serde_json::json!("/nowhere/module.so"), "/nowhere/module.so", false),
        ("token", serde_json::json!({ "label": "no-such-token" }), "no-such-token", true),
        ("token", serde_json::json!({ "serial": "0123" }), "serial number 0123", true),
    ] {
        let mut json = serde_json::json!({
            "module": SoftHsm::module(),
            "token": { "label": scene.token.label() },
            "pin": { "file": "pin" },
            "remote": { "retry": { "first": "10ms", "limit": 2 } }
        });
        json[field] = value;
        let settings: Pkcs11Settings = serde_json::from_value(json).unwrap();
        let context = OpenContext::new("hsm", scene.folder.path());
        let refused = settings.open(&context).await.err().unwrap();
        assert_eq!(refused.is_retryable(), retryable, "{refused:?}");
        assert!(ErrorChain(&refused).to_string().contains(expected), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_removed_token_is_unavailable_and_signs_again_once_it_is_back() {
    let scene = Scene::new();
    let hsm = scene.open().await.unwrap();
    let key = hsm.register(&generated("node", KeyType::Ed25519)).await.unwrap();
    proved(&key, SigningScheme::Ed25519).await.unwrap();

    scene.token.remove();
    // SoftHSM2 misses the objects first, and then the token.
    let gone = async {
        loop {
            let refused = proved(&key, SigningScheme::Ed25519).await.unwrap_err();
            if refused.is_retryable() {
                return;
            }
            assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(hsm.health().await.level, HealthLevel::Failed);
    scene.token.insert();
    let mut signed = proved(&key, SigningScheme::Ed25519).await;
    for _ in 0..50 {
        if signed.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        signed = proved(&key, SigningScheme::Ed25519).await;
    }
    signed.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(hsm.health().await.level, HealthLevel::Ok);
    hsm.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn two_nodes_that_create_a_key_at_once_get_the_same_one() {
    let scene = Scene::new();
    let (one, other) = (scene.open().await.unwrap(), scene.open().await.unwrap());
    for number in 0..10 {
        let spec = generated(&format!("node/{number}"), KeyType::Ed25519);
        let (a, b) = tokio::join!(one.register(&spec), other.register(&spec));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.info.public_key, b.info.public_key, "{number}");
        assert_eq!((a.older.len(), b.older.len()), (0, 0));
        proved(&a, SigningScheme::Ed25519).await.unwrap();
        proved(&b, SigningScheme::Ed25519).await.unwrap();
    }
    one.close().await;
    other.close().await;
}
