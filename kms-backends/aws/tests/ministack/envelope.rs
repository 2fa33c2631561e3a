//! A keystore that a key of AWS KMS opens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use kms_backend::{Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec};
use kms_backend_aws::AwsUnlock;
use kms_backend_keystore::{
    External, KeystoreSettings, Store, UnlockSecret, UnlockSettings, inspect_header,
};
use kms_keys::KeyType;
use kms_peers::{Answer, Fault, Ministack, Proxy, Request, outcomes, paired};
use kms_secrets::SecretArray;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::scene::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, generated, write_profile, write_secret};

/// A server with a key called `alias/node`, what stands before it, and a folder for the store.
struct Envelope {
    server: Ministack,
    proxy: Proxy,
    folder: TempDir,
    /// What AWS calls the key.
    aws_id: String,
}

impl Envelope {
    async fn new() -> Self {
        let server = Ministack::start().await;
        let proxy = Proxy::before(server.address()).await;
        let folder = TempDir::new().unwrap();
        write_profile(&folder);
        let made = server.must("CreateKey", &json!({}));
        let aws_id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let alias = json!({ "AliasName": "alias/node", "TargetKeyId": aws_id });
        server.must("CreateAlias", &alias);
        Self { server, proxy, folder, aws_id }
    }

    fn change(&self, operation: &str) {
        self.server.must(operation, &json!({ "KeyId": self.aws_id }));
    }

    fn unlock(&self, more: Value) -> AwsUnlock {
        let mut section = json!({
            "region": "us-east-1", "endpoint_override": self.proxy.url(), "key": "alias/node",
            "credentials": { "profile": { "file": "credentials", "name": "node" } },
            "remote": { "timeout": "2s", "retry": { "first": "20ms", "limit": 8 } }
        });
        for (name, value) in more.as_object().unwrap() {
            section[name] = value.clone();
        }
        serde_json::from_value(section).unwrap()
    }

    fn settings(&self, more: Value) -> KeystoreSettings<AwsUnlock> {
        let (path, if_missing) = ("store".into(), IfMissing::Generate);
        KeystoreSettings { path, unlock: self.unlock(more), create: true, if_missing }
    }

    async fn open(&self) -> Result<Arc<dyn Backend>, BackendError> {
        self.open_with(json!({})).await
    }

    async fn open_with(&self, more: Value) -> Result<Arc<dyn Backend>, BackendError> {
        self.settings(more).open(&self.context()).await
    }

    /// Opens the store and closes it again.
    async fn opens(&self) {
        self.open().await.unwrap().close().await;
    }

    async fn refused(&self) -> (BackendError, String) {
        let refused = self.open().await.err().unwrap();
        let text = ErrorChain(&refused).to_string();
        (refused, text)
    }

    async fn external(&self) -> External {
        let secret = self.unlock(json!({})).secret(&self.context()).await.unwrap();
        let UnlockSecret::External(external) = secret else { panic!() };
        external
    }

    fn context(&self) -> kms_backend::OpenContext {
        kms_backend::OpenContext::new("store", self.folder.path())
    }
}

fn refusal(status: u16, code: &str) -> Fault {
    let body = json!({ "__type": code, "message": "told by the test" });
    Fault::Answer(Answer::new(status, body.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_store_opens_by_itself_until_the_key_is_taken_away() {
    let scene = Envelope::new().await;
    let backend = scene.open().await.unwrap();
    let mut keys = Vec::new();
    for key_type in [KeyType::Ed25519, KeyType::Secp256k1, KeyType::Bls12381] {
        let spec = generated(key_type.as_str(), key_type);
        keys.push((spec.clone(), backend.register(&spec).await.unwrap().info.public_key));
    }
    backend.close().await;
    drop(backend);

    for (take, give, class, said) in [
        ("DisableKey", &["EnableKey"][..], "denied", "DisabledException"),
        (
            "ScheduleKeyDeletion",
            &["CancelKeyDeletion", "EnableKey"][..],
            "denied",
            "KMSInvalidStateException",
        ),
    ] {
        scene.change(take);
        let (refused, text) = scene.refused().await;
        assert_eq!(kms_backend_remote::class(&refused), class, "{text}");
        for part in ["unlocker \"first\"", "aws", "alias/node", "kms:Decrypt", said] {
            assert!(text.contains(part), "{part}: {text}");
        }
        for operation in give {
            scene.change(operation);
        }
        let backend = scene.open().await.unwrap();
        for (spec, public_key) in &keys {
            let mut spec = KeySpec::new(spec.id.clone(), spec.key_type);
            spec.if_missing = IfMissing::Fail;
            assert_eq!(backend.register(&spec).await.unwrap().info.public_key, *public_key);
        }
        backend.close().await;
    }
    // The key of then was called otherwise, and the name is another's.
    let other = scene.server.must("CreateKey", &json!({}));
    let other = other["KeyMetadata"]["KeyId"].as_str().unwrap();
    scene.server.must("UpdateAlias", &json!({"AliasName": "alias/node", "TargetKeyId": other}));
    assert!(!scene.refused().await.0.is_retryable());
    scene
        .server
        .must("UpdateAlias", &json!({"AliasName": "alias/node", "TargetKeyId": scene.aws_id}));
    scene.opens().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn the_right_that_is_missing_is_named_and_no_store_is_made() {
    let scene = Envelope::new().await;
    scene.proxy.next_at("Encrypt", refusal(400, "AccessDeniedException"), 1);
    let (refused, text) = scene.refused().await;
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert!(text.contains("kms:Encrypt") && text.contains("told by the test"), "{text}");
    assert!(!scene.folder.path().join("store").exists());

    scene.opens().await;
    for (code, class) in [
        ("AccessDeniedException", "denied"),
        ("NotFoundException", "not_found"),
        ("com.amazonaws.kms#IncorrectKeyException", "wrong_secret"),
        ("InvalidCiphertextException", "wrong_secret"),
        ("InvalidKeyUsageException", "misconfigured"),
    ] {
        let before = scene.proxy.count("Decrypt");
        scene.proxy.next_at("Decrypt", refusal(400, code), 1);
        let (refused, text) = scene.refused().await;
        assert_eq!(kms_backend_remote::class(&refused), class, "{text}");
        assert!(text.contains("kms:Decrypt") && text.contains("told by the test"), "{text}");
        assert_eq!(scene.proxy.count("Decrypt") - before, 1, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_is_asked_again_with_other_credentials_has_records_of_its_own() {
    let scene = Envelope::new().await;
    let audit = json!({ "remote": { "audit": { "file": "audit.log" } } });
    let secret = scene.unlock(audit).secret(&scene.context()).await.unwrap();
    let UnlockSecret::External(external) = secret else { panic!() };
    let key = SecretArray::init_with(|key| key.fill(0x5a));
    let sealed = external.unlocker().seal(&key, b"a store").await.unwrap();
    let other = "[node]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n";
    write_secret(&scene.folder, "credentials", other);
    scene.proxy.next_at("Decrypt", refusal(400, "UnrecognizedClientException"), 1);
    let opened = external.unlocker().open(&sealed, b"a store").await.unwrap();
    assert_eq!(opened.expose(), key.expose());
    external.unlocker().close().await;
    let records = paired(&[&scene.folder.path().join("audit.log")]);
    assert_eq!(outcomes(&records, "encrypt"), [(1, "ok")]);
    assert_eq!(outcomes(&records, "decrypt"), [(1, "denied"), (2, "ok")]);
    assert_eq!(scene.proxy.count("Decrypt"), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_sealed_key_is_bound_to_its_store() {
    let scene = Envelope::new().await;
    let external = scene.external().await;
    let key = SecretArray::init_with(|key| key.fill(0x5a));
    let sealed = external.unlocker().seal(&key, b"one store").await.unwrap();
    let opened = external.unlocker().open(&sealed, b"one store").await.unwrap();
    assert_eq!(opened.expose(), key.expose());
    let refused = external.unlocker().open(&sealed, b"other store").await.unwrap_err();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    for nonsense in [&b""[..], b"AAAA", b"\"}\xff"] {
        let refused = external.unlocker().open(nonsense, b"one store").await.unwrap_err();
        assert!(!refused.is_retryable(), "{refused:?}");
    }
    let seen = scene.proxy.seen();
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    let bound: String =
        Sha256::digest(b"one store").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        body,
        json!({
            "KeyId": "alias/node", "Plaintext": Base64::encode_string(&[0x5a; 32]),
            "EncryptionContext": { "kms-keystore": bound },
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn answers_that_make_no_sense_open_nothing_and_are_not_repeated() {
    let scene = Envelope::new().await;
    scene.opens().await;
    let secret = Base64::encode_string(&[0x5a; 32]);
    let short = json!({ "Plaintext": Base64::encode_string(&[0x5a; 31]) }).to_string();
    for (answer, class) in [
        (Answer::new(200, format!("{{\"Plaintext\": 5, \"x\": \"{secret}\"}}")), "unavailable"),
        (Answer::new(200, "{}"), "unavailable"),
        (Answer::new(200, json!({ "Plaintext": "no Base64" }).to_string()), "corrupt"),
        (Answer::new(200, short), "corrupt"),
        (Answer::new(200, vec![b' '; 8 * 1024 * 1024]), "unavailable"),
    ] {
        scene.proxy.next_at("Decrypt", Fault::Answer(answer), 8);
        let (refused, text) = scene.refused().await;
        assert_eq!(kms_backend_remote::class(&refused), class, "{text}");
        assert!(!text.contains(&secret), "{text}");
        // What was not asked for is not left for the next.
        while scene.open().await.is_err() {}
    }
    // Nor what was sent, if that is said again.
    let external = scene.external().await;
    let key = SecretArray::init_with(|key| key.fill(0x5a));
    let said = json!({ "__type": "ValidationException", "message": format!("no {secret}") });
    scene.proxy.next_at("Encrypt", Fault::Answer(Answer::new(400, said.to_string())), 1);
    let refused = external.unlocker().seal(&key, b"one store").await.unwrap_err();
    let text = ErrorChain(&refused).to_string();
    assert!(matches!(refused, BackendError::Misconfigured(_)), "{text}");
    assert!(!text.contains(&secret), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_passes_is_tried_again_and_no_longer_than_the_start_may_take() {
    let scene = Envelope::new().await;
    scene.opens().await;
    for (fault, times) in [
        (refusal(400, "ThrottlingException"), 3),
        (refusal(500, "KMSInternalException"), 2),
        (Fault::Answer(Answer::new(503, "<html>busy</html>")), 2),
        (Fault::CutRequest, 2),
        (Fault::CutAnswer, 2),
        (Fault::HalfAnswer, 1),
        (Fault::Garbage(1000), 1),
    ] {
        let before = scene.proxy.count("Decrypt");
        scene.proxy.next_at("Decrypt", fault.clone(), times);
        scene.opens().await;
        assert_eq!(scene.proxy.count("Decrypt") - before, times + 1, "{fault:?}");
    }
    scene.proxy.next_at("Decrypt", Fault::Garbage(10), 1000);
    let begun = Instant::now();
    let until = begun + Duration::from_millis(500);
    let refused = kms_backend::Request::until(until).scope(scene.open()).await.err().unwrap();
    assert!(matches!(refused, BackendError::Unavailable(_)), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn credentials_that_are_refused_are_read_again() {
    let scene = Envelope::new().await;
    scene.opens().await;
    let external = scene.external().await;
    let key = SecretArray::init_with(|key| key.fill(0x5a));
    external.unlocker().seal(&key, b"x").await.unwrap();
    let new = "[node]\naws_access_key_id = AKIANEW\naws_secret_access_key = new\n";
    write_secret(&scene.folder, "credentials", new);
    scene.proxy.next_at("Encrypt", refusal(400, "UnrecognizedClientException"), 1);
    external.unlocker().seal(&key, b"x").await.unwrap();
    let seen = scene.proxy.seen();
    let used: Vec<_> = seen.iter().rev().take(2).map(|it| it.head.contains("AKIANEW")).collect();
    assert_eq!(used, [true, false]);

    scene.proxy.next_at("Encrypt", refusal(403, "InvalidSignatureException"), 1);
    let before = scene.proxy.count("Encrypt");
    let refused = external.unlocker().seal(&key, b"x").await.unwrap_err();
    let text = ErrorChain(&refused).to_string();
    assert!(matches!(refused, BackendError::Denied(_)) && !text.contains("told"), "{text}");
    assert_eq!(scene.proxy.count("Encrypt") - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn requests_are_recorded_without_what_is_in_them() {
    let scene = Envelope::new().await;
    let remote = json!({ "remote": { "audit": { "file": "audit.log" } } });
    scene.open_with(remote.clone()).await.unwrap().close().await;
    scene.open_with(remote).await.unwrap().close().await;
    let log = std::fs::read_to_string(scene.folder.path().join("audit.log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<_> = lines
        .map(|line| {
            assert_eq!((&line["key"], &line["backend"]), (&json!("alias/node"), &json!("store")));
            assert_eq!(line["payload"], "[redacted]");
            [line["operation"].clone(), line["event"].clone(), line["outcome"].clone()]
        })
        .collect();
    // Made and opened, and opened once more.
    let pair = |name: &str| [json!([name, "request", null]), json!([name, "response", "ok"])];
    assert_eq!(json!(told), json!([pair("encrypt"), pair("decrypt"), pair("decrypt")].concat()));
}

/// Has a store's key sealed and opened, also by somebody who repeats what was sent, and gives all that is said.
pub(crate) async fn shown() -> Vec<String> {
    let scene = Envelope::new().await;
    let (external, key) = (scene.external().await, SecretArray::init_with(|key| key.fill(0x5a)));
    let sealed = external.unlocker().seal(&key, b"bound").await.unwrap();
    let opened = external.unlocker().open(&sealed, b"bound").await.unwrap();
    let mut shown = vec![format!("{:?} {external:?} {opened:?}", scene.unlock(json!({})))];
    let text = Base64::encode_string(key.expose());
    for (status, code) in [(400, "ValidationException"), (403, "InvalidSignatureException")] {
        let body = json!({ "__type": code, "message": format!("{SECRET_ACCESS_KEY} {text}") });
        scene.proxy.next_at("Encrypt", Fault::Answer(Answer::new(status, body.to_string())), 1);
        let error = external.unlocker().seal(&key, b"bound").await.unwrap_err();
        shown.push(format!("{error:?} {}", ErrorChain(&error)));
    }
    scene.proxy.next_at("Encrypt", Fault::CutAnswer, 8);
    let error = external.unlocker().seal(&key, b"bound").await.unwrap_err();
    shown.push(format!("{error:?} {}", ErrorChain(&error)));
    shown
}

/// By the algorithm as AWS describes it ("Signature Version 4"), from what went over the wire.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn requests_are_signed_as_they_are_sent() {
    let scene = Envelope::new().await;
    scene.opens().await;
    let requests = scene.proxy.seen();
    assert_eq!(requests.len(), 2);
    for request in requests {
        let (expected, signature) = signature(&request);
        assert_eq!(signature, expected, "{}", request.head);
    }
}

/// What the signature must be, and what it is.
fn signature(request: &Request) -> (String, String) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let authorization = request.field("authorization").unwrap();
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(name).unwrap();
        rest.split(',').next().unwrap().trim().to_owned()
    };
    let (credential, names) = (part("Credential="), part("SignedHeaders="));
    let scope = credential.strip_prefix(&format!("{ACCESS_KEY_ID}/")).unwrap();
    for name in ["host", "x-amz-date", "x-amz-target"] {
        assert!(names.split(';').any(|signed| signed == name), "{names}");
    }
    let fields: String =
        names.split(';').map(|name| format!("{name}:{}\n", request.field(name).unwrap())).collect();
    let body = hex(&Sha256::digest(&request.body));
    let canonical = format!("POST\n{}\n\n{fields}\n{names}\n{body}", request.path);
    let date = request.field("x-amz-date").unwrap();
    let canonical = hex(&Sha256::digest(canonical));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}");
    let key = scope
        .split('/')
        .fold(format!("AWS4{SECRET_ACCESS_KEY}").into_bytes(), |key, part| mac(&key, part));
    (hex(&mac(&key, &text)), part("Signature="))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn the_header_says_which_key_and_not_where() {
    let scene = Envelope::new().await;
    scene.opens().await;
    let secret = UnlockSecret::External(scene.external().await);
    let path = scene.folder.path().join("store");
    let opening = tokio::task::spawn_blocking(move || {
        let store = Store::open(&path, &secret).unwrap();
        serde_json::to_value(store.unlockers()).unwrap()
    });
    let header = opening.await.unwrap();
    let kind = json!({"external": {"provider": "aws", "parameters": {"key": "alias/node"}}});
    assert_eq!(header[0]["kind"], kind);
    let whole = json!({"version": 1, "store": "00".repeat(16), "unlockers": header});
    inspect_header(&serde_json::to_vec(&whole).unwrap()).unwrap();
}
