//! Keys that somebody else has put into the token.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::path::PathBuf;
use std::sync::Arc;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType as Kind, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, OpenContext,
    PageRequest, RegisteredKey, Signer,
};
use kms_backend_pkcs11::Pkcs11Settings;
use kms_keys::{KeyId, KeyType, PublicKey, SecretKey};
use kms_peers::{SoftHsm, write_secret};
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

const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

const GUARDED: [Attribute; 2] = [Attribute::Sensitive(true), Attribute::Extractable(false)];

/// A token, and a folder for what settings point at.
struct Scene {
    token: SoftHsm,
    folder: TempDir,
    module: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let (token, folder) = (SoftHsm::start(), TempDir::new().unwrap());
        write_secret(&folder.path().join("pin"), SoftHsm::PIN);
        Self { token, folder, module: SoftHsm::module() }
    }

    async fn open(&self, keys: Value) -> Arc<dyn Backend> {
        let section = json!({
            "module": self.module,
            "token": { "label": self.token.label() },
            "pin": { "file": "pin" },
            "keys": keys,
            "remote": { "retry": { "first": "20ms", "limit": 8 } }
        });
        let settings: Pkcs11Settings = serde_json::from_value(section).unwrap();
        settings.open(&OpenContext::new("hsm", self.folder.path())).await.unwrap()
    }

    /// A session of somebody else's in the token.
    fn session(&self) -> Session {
        stranger::session(&self.module, &self.token).unwrap()
    }
}

fn spec(id: &str, key_type: KeyType) -> KeySpec {
    KeySpec::new(KeyId::new(id).unwrap(), key_type)
}

/// A pair that another tool makes: public and private object.
fn pair(
    session: &Session,
    curve: &[u8],
    label: &str,
    cka_id: &[u8],
    more: &[Attribute],
) -> (ObjectHandle, ObjectHandle) {
    let name =
        [Attribute::Token(true), Attribute::Label(label.into()), Attribute::Id(cka_id.to_vec())];
    let public = [&name[..], &[Attribute::EcParams(curve.to_vec())]].concat();
    let private = [&name[..], &[Attribute::Private(true)], more].concat();
    let how =
        if curve == ED25519 { Mechanism::EccEdwardsKeyPairGen } else { Mechanism::EccKeyPairGen };
    session.generate_key_pair(&how, &public, &private).unwrap()
}

/// An Ed25519 private key that another tool imports, without its public one.
fn private_alone(session: &Session, key: &SecretKey, label: &str, more: &[Attribute]) {
    let object = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(Kind::EC_EDWARDS),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.into()),
        Attribute::Id(vec![9]),
        Attribute::Sign(true),
        Attribute::EcParams(ED25519.to_vec()),
        Attribute::Value(key.expose_secret().expose().to_vec()),
    ];
    session.create_object(&[&object[..], &GUARDED, more].concat()).unwrap();
}

/// The public key in an Ed25519 public object.
fn point(session: &Session, public: ObjectHandle) -> PublicKey {
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint]).unwrap();
    let [Attribute::EcPoint(point)] = &attributes[..] else { panic!() };
    PublicKey::from_bytes(KeyType::Ed25519, &point[2..]).unwrap()
}

async fn proved(key: &RegisteredKey) {
    let Signer::Remote(signer) = &key.signer else { panic!("a key left the token") };
    let scheme = key.info.key_type.default_scheme();
    let signature = signer.sign(scheme, b"m").await.unwrap();
    key.info.public_key.verify(scheme, b"m", &signature).unwrap();
}

async fn refused(hsm: &dyn Backend, spec: &KeySpec) -> (BackendError, String) {
    let error = hsm.register(spec).await.unwrap_err();
    let text = ErrorChain(&error).to_string();
    (error, text)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn keys_of_other_names_are_found_and_left_alone() {
    let (_alone, scene) = (Alone::wait(), Scene::new());
    let keys = json!({
        "by/label": { "label": "signer one" },
        "by/id": { "id": "a0B1" },
        "by/both": { "label": "twin", "id": "02" },
        "none": { "label": "signer one", "id": "a0b1" },
    });
    let hsm = scene.open(keys).await;
    let session = scene.session();
    let (one, _) = pair(&session, ED25519, "signer one", &[], &GUARDED);
    pair(&session, SECP256K1, "any label: at all", &[0xa0, 0xb1], &GUARDED);
    pair(&session, ED25519, "twin", &[1], &GUARDED);
    let (second, _) = pair(&session, ED25519, "twin", &[2], &GUARDED);

    for (id, public) in [("by/label", Some(one)), ("by/id", None), ("by/both", Some(second))] {
        let key_type = if public.is_some() { KeyType::Ed25519 } else { KeyType::Secp256k1 };
        let key = hsm.register(&spec(id, key_type)).await.unwrap();
        assert_eq!((key.info.version, key.older.len()), (1, 0));
        if let Some(public) = public {
            assert_eq!(key.info.public_key, point(&session, public));
        }
        for _ in 0..4 {
            proved(&key).await;
        }
        for (refused, what) in [
            (hsm.rotate(&key.info.id).await.err().unwrap(), "rotated"),
            (hsm.destroy(&key.info.id).await.unwrap_err(), "destroyed"),
        ] {
            assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
            let text = refused.to_string();
            assert!(text.contains(id) && text.contains(what), "{text}");
        }
        proved(&key).await;
    }
    let wrong_type = hsm.register(&spec("by/id", KeyType::Ed25519)).await.unwrap_err();
    assert!(matches!(wrong_type, BackendError::WrongSecret(_)), "{wrong_type:?}");

    // Nothing is made under such a name.
    let mut missing = spec("none", KeyType::Ed25519);
    missing.if_missing = IfMissing::Generate;
    let (error, text) = refused(&*hsm, &missing).await;
    assert!(matches!(error, BackendError::NotFound(_)), "{error:?}");
    assert!(text.contains("label signer one and CKA_ID a0b1") && text.contains("none"), "{text}");

    // The list has what the settings name, and the keys of this service's own names. Making one here could
    // end the sessions of all tests.
    pair(&session, ED25519, "own", &[0, 0, 0, 1], &GUARDED);
    pair(&session, ED25519, "other.tool", &[7], &GUARDED);
    let page = hsm.list(&PageRequest::first(10)).await.unwrap();
    let ids: Vec<_> = page.keys.iter().map(|key| key.id.as_str()).collect();
    // `twin` is a label that could be an id, and names two keys: none.
    assert_eq!(ids, ["by/both", "by/id", "by/label", "other.tool", "own"]);
    hsm.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_name_of_several_keys_or_of_none_that_fits_is_refused() {
    let (_alone, scene) = (Alone::wait(), Scene::new());
    let keys = json!({ "node": { "label": "twin" }, "curve": { "label": "p256" } });
    let hsm = scene.open(keys).await;
    let session = scene.session();
    pair(&session, ED25519, "twin", &[0xab], &GUARDED);
    let key = hsm.register(&spec("node", KeyType::Ed25519)).await.unwrap();
    let (_, other) = pair(&session, SECP256K1, "twin", &[0xcd], &GUARDED);
    let (error, text) = refused(&*hsm, &spec("node", KeyType::Ed25519)).await;
    assert!(matches!(error, BackendError::Misconfigured(_)), "{error:?}");
    for part in ["2 private keys", "node", "label twin and CKA_ID ab", "label twin and CKA_ID cd"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    session.destroy_object(other).unwrap();
    hsm.register(&spec("node", KeyType::Ed25519)).await.unwrap();
    proved(&key).await;

    pair(&session, P256, "p256", &[1], &GUARDED);
    let (error, text) = refused(&*hsm, &spec("curve", KeyType::Secp256k1)).await;
    assert!(matches!(error, BackendError::Misconfigured(_)), "{error:?}");
    assert!(text.contains("label p256") && text.contains("secp256k1"), "{text}");
    hsm.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn the_public_key_is_the_private_ones() {
    let (_alone, scene) = (Alone::wait(), Scene::new());
    let keys = json!({ "bare": { "label": "bare" }, "told": { "label": "told" } });
    let hsm = scene.open(keys).await;
    let session = scene.session();
    let [bare, told] = [(); 2].map(|()| SecretKey::generate(KeyType::Ed25519).unwrap());
    private_alone(&session, &bare, "bare", &[]);
    let (error, text) = refused(&*hsm, &spec("bare", KeyType::Ed25519)).await;
    assert!(matches!(error, BackendError::Misconfigured(_)), "{error:?}");
    for part in ["label bare", "public key object", "CKA_EC_POINT", "CKA_PUBLIC_KEY_INFO"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // The private key itself says.
    let spki = told.public_key().to_spki_der().unwrap();
    private_alone(&session, &told, "told", &[Attribute::PublicKeyInfo(spki)]);
    let key = hsm.register(&spec("told", KeyType::Ed25519)).await.unwrap();
    assert_eq!(key.info.public_key, told.public_key());
    proved(&key).await;

    // The only public key of its `CKA_ID` is another's.
    let public = |key: &SecretKey, label: &str| {
        let point = [&[4, 32], key.public_key().to_bytes().as_slice()].concat();
        let object = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(Kind::EC_EDWARDS),
            Attribute::Token(true),
            Attribute::Label(label.into()),
            Attribute::Id(vec![9]),
            Attribute::EcParams(ED25519.to_vec()),
            Attribute::EcPoint(point),
        ];
        session.create_object(&object).unwrap()
    };
    let wrong = public(&SecretKey::generate(KeyType::Ed25519).unwrap(), "other");
    let (error, text) = refused(&*hsm, &spec("bare", KeyType::Ed25519)).await;
    assert!(matches!(error, BackendError::Corrupt(_)), "{error:?}");
    assert!(text.contains("test signature") && text.contains("label bare"), "{text}");
    // With its own among several, that one is taken.
    public(&bare, "yet another");
    let key = hsm.register(&spec("bare", KeyType::Ed25519)).await.unwrap();
    assert_eq!(key.info.public_key, bare.public_key());
    proved(&key).await;
    session.destroy_object(wrong).unwrap();
    hsm.register(&spec("bare", KeyType::Ed25519)).await.unwrap();
    hsm.close().await;
}

#[tokio::test]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_key_that_may_leave_is_loaded_with_a_warning_and_one_that_may_not_sign_is_not() {
    let (_alone, scene) = (Alone::wait(), Scene::new());
    let keys = json!({
        "open": { "label": "open" }, "guarded": { "label": "guarded" }, "mute": { "label": "mute" }
    });
    let hsm = scene.open(keys).await;
    let session = scene.session();
    pair(&session, ED25519, "guarded", &[1], &GUARDED);
    for (number, more) in [
        (2, [Attribute::Sensitive(false), Attribute::Extractable(false)]),
        (3, [Attribute::Sensitive(true), Attribute::Extractable(true)]),
    ] {
        let log = Log::default();
        let listening = log.listen();
        let (public, private) = pair(&session, ED25519, "open", &[number], &more);
        let key = hsm.register(&spec("open", KeyType::Ed25519)).await.unwrap();
        hsm.register(&spec("guarded", KeyType::Ed25519)).await.unwrap();
        drop(listening);
        proved(&key).await;
        let text = log.text();
        let warned: Vec<_> = text.lines().filter(|line| line.contains("may leave")).collect();
        assert_eq!(warned.len(), 1, "{text}");
        assert!(warned[0].contains("WARN") && warned[0].contains("open (label open)"), "{text}");
        session.destroy_object(public).unwrap();
        session.destroy_object(private).unwrap();
    }
    // Under a name of its own it would be this service's, which makes none like that.
    pair(
        &session,
        ED25519,
        "mine",
        &[1],
        &[Attribute::Sensitive(true), Attribute::Extractable(true)],
    );
    let (error, _) = refused(&*hsm, &spec("mine", KeyType::Ed25519)).await;
    assert!(matches!(error, BackendError::Misconfigured(_)), "{error:?}");

    pair(&session, ED25519, "mute", &[4], &[&GUARDED[..], &[Attribute::Sign(false)]].concat());
    let (error, text) = refused(&*hsm, &spec("mute", KeyType::Ed25519)).await;
    assert!(matches!(error, BackendError::Denied(_)), "{error:?}");
    assert!(text.contains("label mute"), "{text}");
    hsm.close().await;
}
