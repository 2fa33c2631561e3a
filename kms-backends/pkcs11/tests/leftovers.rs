//! What somebody left half-made, or half-destroyed. One test, for it has the module read everything anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;
use kms_backend::{
    Backend, BackendError, BackendSettings, IfMissing, KeySpec, OpenContext, PageRequest, Request,
    Signer,
};
use kms_backend_pkcs11::Pkcs11Settings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use kms_peers::{SoftHsm, write_secret};
use serde_json::json;
use tempfile::TempDir;

#[path = "support/stranger.rs"]
mod stranger;

const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];

/// A token, and a folder for what settings point at.
struct Scene {
    token: SoftHsm,
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let (token, folder) = (SoftHsm::start(), TempDir::new().unwrap());
        write_secret(&folder.path().join("pin"), SoftHsm::PIN);
        Self { token, folder }
    }

    async fn open(&self) -> Arc<dyn Backend> {
        let section = json!({
            "module": SoftHsm::module(),
            "token": { "label": self.token.label() },
            "pin": { "file": "pin" },
            "remote": { "retry": { "first": "20ms", "limit": 8 } }
        });
        let settings: Pkcs11Settings = serde_json::from_value(section).unwrap();
        settings.open(&OpenContext::new("hsm", self.folder.path())).await.unwrap()
    }

    /// Does `work` in a session of somebody else's in the token.
    fn with_session<T>(&self, work: impl Fn(&Session) -> Result<T, Error>) -> T {
        stranger::with(&SoftHsm::module(), &self.token, work)
    }
}

fn spec(id: &str, key_type: KeyType) -> KeySpec {
    KeySpec::new(KeyId::new(id).unwrap(), key_type)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn what_somebody_began_and_left_is_in_nobodys_way() {
    let scene = Scene::new();
    let hsm = scene.open().await;
    let pair = |cka_id: &[u8]| {
        let both = [
            Attribute::Token(true),
            Attribute::Id(cka_id.to_vec()),
            Attribute::Label("node".into()),
        ];
        let curve = Attribute::EcParams(ED25519.to_vec());
        let public = [&both[..], &[curve]].concat();
        let how = Mechanism::EccEdwardsKeyPairGen;
        scene.with_session(|session| session.generate_key_pair(&how, &public, &both));
    };
    let objects = |cka_id: &[u8]| {
        let named = [Attribute::Id(cka_id.to_vec())];
        scene.with_session(|session| session.find_objects(&named)).len()
    };
    let destroy = |class: ObjectClass, cka_id: &[u8]| {
        let wanted = [Attribute::Class(class), Attribute::Id(cka_id.to_vec())];
        scene.with_session(|session| {
            session.find_objects(&wanted)?.into_iter().try_for_each(|it| session.destroy_object(it))
        });
    };
    let candidate = |second: u64| {
        let second = u32::try_from(second).unwrap().to_be_bytes();
        [&b"kms~"[..], &second, &[7; 8], &[0, 0, 0, 1]].concat()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut spec = spec("node", KeyType::Ed25519);

    // It is no key, and keeps others waiting while it is young.
    let young = candidate(now + 30);
    pair(&young);
    let refused = hsm.register(&spec).await.unwrap_err();
    assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
    let page = hsm.list(&PageRequest::first(10)).await.unwrap();
    assert_eq!(page.keys.len(), 0);
    spec.if_missing = IfMissing::Generate;
    let soon = Instant::now() + Duration::from_secs(5);
    let refused = Request::until(soon).scope(hsm.register(&spec)).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
    assert!(refused.to_string().contains("others are making key node"), "{refused}");
    destroy(ObjectClass::PRIVATE_KEY, &young);
    destroy(ObjectClass::PUBLIC_KEY, &young);

    let abandoned = candidate(now - 61);
    pair(&abandoned);
    assert_eq!(objects(&abandoned), 2);
    hsm.register(&spec).await.unwrap();
    assert_eq!(objects(&abandoned), 0);

    // A public key without its private one is no key either.
    pair(&[0, 0, 0, 2]);
    destroy(ObjectClass::PRIVATE_KEY, &[0, 0, 0, 2]);
    let rotated = hsm.rotate(&spec.id).await.unwrap();
    assert_eq!((rotated.info.version, rotated.older.len()), (2, 1));
    let Signer::Remote(signer) = &rotated.signer else { panic!() };
    let signature = signer.sign(SigningScheme::Ed25519, b"m").await.unwrap();
    rotated.info.public_key.verify(SigningScheme::Ed25519, b"m", &signature).unwrap();
    hsm.close().await;
}
