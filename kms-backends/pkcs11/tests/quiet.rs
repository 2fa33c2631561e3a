//! No PIN, key or signature in any log, record or error.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::path::Path;

use base64ct::{Base64, Encoding as _};
use cryptoki::types::AuthPin;
use kms_backend::{
    BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, OpenContext, Signer,
};
use kms_backend_pkcs11::Pkcs11Settings;
use kms_keys::{KeyId, KeyType, SecretKey};
use kms_peers::{SoftHsm, write_secret};
use kms_secrets::{Encoding, SecretSource};
use tempfile::TempDir;
use tracing_subscriber::util::SubscriberInitExt;

#[expect(dead_code, reason = "what this thread's task logs isn't all")]
#[path = "support/log.rs"]
mod log;
#[path = "support/stranger.rs"]
mod stranger;

use log::Log;

/// Long enough to be in no number by chance.
const PIN: &str = "right-horse-battery-2468";
const WRONG_PIN: &str = "wrong-horse-battery-8642";
const MESSAGE: &[u8] = b"what nobody else is to read";

/// The forms in which bytes are found in text.
fn forms(secret: &[u8]) -> [String; 5] {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let (base64, list) = (Base64::encode_string(secret), format!("{secret:?}"));
    [
        String::from_utf8_lossy(secret).into_owned(),
        hex.to_uppercase(),
        hex,
        base64.trim_end_matches('=').to_owned(),
        list.trim_matches(['[', ']']).to_owned(),
    ]
}

fn settings(token: &SoftHsm) -> Pkcs11Settings {
    let json = serde_json::json!({
        "module": SoftHsm::module(),
        "token": { "label": token.label() },
        "pin": { "file": "pin" },
        "remote": {
            "retry": { "first": "20ms" }, "health_interval": "20ms", "audit": { "file": "audit.log" }
        }
    });
    serde_json::from_value(json).unwrap()
}

/// The key to be found in a file, and what is to be done with it.
fn source(folder: &Path, id: &str, key_type: KeyType) -> (KeySpec, SecretKey) {
    let key = SecretKey::generate(key_type).unwrap();
    let path = folder.join(id);
    write_secret(&path, key.expose_secret().expose());
    let mut spec = KeySpec::new(KeyId::new(id).unwrap(), key_type);
    spec.source =
        Some(SecretSource::File { path, encoding: Some(Encoding::Raw), group_readable: false });
    (spec, key)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn no_pin_or_key_is_in_any_log_record_or_error() {
    let logged = Log::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    // Also what the library logs, and on all threads.
    subscriber.finish().init();
    std::thread::spawn(|| tracing::trace!("every thread is heard")).join().unwrap();

    let (token, folder) = (SoftHsm::start(), TempDir::new().unwrap());
    let context = OpenContext::new("hsm", folder.path());
    let settings = settings(&token);
    let write_pin = |pin: &str| write_secret(&folder.path().join("pin"), pin);
    let (mut shown, mut secrets) = (format!("{settings:?}"), vec![]);
    write_pin(SoftHsm::PIN);
    settings.open(&context).await.unwrap().close().await;
    {
        let session = stranger::session(&SoftHsm::module(), &token).unwrap();
        let [old, new] = [SoftHsm::PIN, PIN].map(|pin| AuthPin::new(pin.into()));
        session.set_pin(&old, &new).unwrap();
        session.logout().unwrap();
    }

    write_pin(WRONG_PIN);
    let refused = settings.open(&context).await.err().unwrap();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    shown += &format!("{refused:?} {}", ErrorChain(&refused));
    write_pin(PIN);
    let hsm = settings.open(&context).await.unwrap();
    let mut generated = KeySpec::new(KeyId::new("made").unwrap(), KeyType::Ed25519);
    generated.if_missing = IfMissing::Generate;
    let mut specs = vec![generated];
    for (id, key_type) in [("far", KeyType::Ed25519), ("further", KeyType::Secp256k1)] {
        let (spec, key) = source(folder.path(), id, key_type);
        secrets.push(key.expose_secret().expose().to_vec());
        specs.push(spec);
    }
    for spec in &specs {
        let key = hsm.register(spec).await.unwrap();
        let Signer::Remote(signer) = &key.signer else { panic!("a key left the token") };
        let scheme = spec.key_type.default_scheme();
        let signature = signer.sign(scheme, MESSAGE).await.unwrap();
        key.info.public_key.verify(scheme, MESSAGE, &signature).unwrap();
        secrets.push(signature.to_bytes().to_vec());
        shown += &format!("{key:?} {:?}", hsm.rotate(&spec.id).await.unwrap());
        hsm.destroy(&spec.id).await.unwrap();
        let gone = signer.sign(scheme, MESSAGE).await.unwrap_err();
        shown += &format!("{gone:?} {}", ErrorChain(&gone));
    }
    shown += &format!("{:?}", hsm.health().await);
    hsm.close().await;
    drop(hsm);

    let records = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    for operation in ["open", "login", "health", "sign", "generate", "import", "destroy"] {
        let pair = format!(r#""operation":"{operation}""#);
        assert!(records.matches(&pair).count() >= 2, "{operation}: {records}");
    }
    let logged = logged.text();
    for part in ["kms::audit", "every thread is heard"] {
        assert!(logged.contains(part), "{part}: {logged}");
    }
    secrets.extend([PIN.as_bytes(), WRONG_PIN.as_bytes(), MESSAGE].map(<[u8]>::to_vec));
    for form in secrets.iter().flat_map(|secret| forms(secret)) {
        for (place, text) in [("log", &logged), ("records", &records), ("shown", &shown)] {
            let at = text.find(&form);
            assert!(at.is_none(), "in {place}: …{}", &text[at.unwrap().saturating_sub(200)..]);
        }
    }
}
