//! No token, and nothing that was signed, in any log, error or record.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kms_peers::{Answer, Fault, Proxy};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::support::{Server, generated, sign, signer};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn no_token_is_in_any_log_record_or_error() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).ok();

    let server = Server::dev().await;
    let rules = r#"path "transit/*" { capabilities = ["create", "read", "update", "list"] }"#;
    server.bao.policy("node", rules);
    let token = server.bao.token(&["node"], "1h");
    let file = server.secret_file("token", &token);
    let proxy = Proxy::before(server.bao.address()).await;
    let settings = json!({
        "address": proxy.url(),
        "auth": {"token": {"file": file}},
        "remote": {"audit": {"file": "audit.log"}, "retry": {"first": "10ms"}},
    });
    let mut shown = format!("{:?}", server.settings(settings.clone()));
    let backend = server.open(settings).await;
    let key = backend.register(&generated("a")).await.unwrap();
    shown += &format!("{key:?}");
    let signer = signer(&key);
    let message = b"what nobody else is to read";
    sign(&*signer, message, Duration::from_secs(5)).await.unwrap();
    let signature = signer.sign(kms_keys::SigningScheme::Ed25519, message).await.unwrap();
    // A server that repeats what it was sent, as some intermediaries do.
    let echo = format!(r#"{{"errors":["bad token {token}"]}}"#);
    for (status, body) in [(400, echo.as_str()), (403, &echo), (200, &echo), (302, &echo)] {
        proxy.next_at("/sign/", Fault::Answer(Answer::new(status, body)), 1);
        if let Err(error) = signer.sign(kms_keys::SigningScheme::Ed25519, message).await {
            shown += &format!("{error} {error:?}");
        }
    }
    proxy.next_at("/sign/", Fault::Garbage(10), 1);
    sign(&*signer, message, Duration::from_secs(5)).await.unwrap();
    shown += &format!("{:?}", backend.health().await);
    backend.close().await;
    drop(backend);
    let wrapped = wrapped(&server, &proxy, &mut shown).await;

    let records = std::fs::read_to_string(server.folder.path().join("audit.log")).unwrap();
    assert!(records.lines().count() >= 12, "{records}");
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("kms::audit"));
    let signature = signature.to_bytes();
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    use base64ct::{Base64, Encoding};
    for secret in [
        token.clone(),
        Base64::encode_string(token.as_bytes()),
        Base64::encode_string(message),
        String::from_utf8(message.to_vec()).unwrap(),
        format!("{:?}", token.as_bytes()),
        hex,
        Base64::encode_string(&signature),
    ]
    .into_iter()
    .chain(wrapped)
    {
        for (place, text) in [("log", &logged), ("records", &records), ("shown", &shown)] {
            let at = text.find(&secret);
            assert!(at.is_none(), "in {place}: …{}", &text[at.unwrap().saturating_sub(200)..]);
        }
    }
}

/// Has a store's key sealed and opened, also by a server that repeats it, and gives the forms it may have.
#[cfg(feature = "envelope")]
async fn wrapped(server: &Server, proxy: &Proxy, shown: &mut String) -> Vec<String> {
    use base64ct::{Base64, Encoding};
    use kms_backend_keystore::{UnlockSecret, UnlockSettings};

    server.bao.must(&["write", "-f", "transit/keys/store"]);
    let unlock: kms_backend_vault::VaultUnlock = serde_json::from_value(json!({
        "address": proxy.url(), "allow_http": true, "key": "store",
        "auth": {"token": {"file": "root-token"}}, "remote": {"audit": {"file": "audit.log"}},
    }))
    .unwrap();
    let secret = unlock.secret(&super::support::context(server.folder.path())).await.unwrap();
    let UnlockSecret::External(external) = &secret else { panic!("{secret:?}") };
    let key = kms_secrets::SecretArray::init_with(|key| key.fill(0x5a));
    let text = Base64::encode_string(key.expose());
    let sealed = external.unlocker().seal(&key, b"bound").await.unwrap();
    let opened = external.unlocker().open(&sealed, b"bound").await.unwrap();
    *shown += &format!("{unlock:?} {secret:?} {opened:?}");
    let echo = format!(r#"{{"errors":["bad plaintext {text}"]}}"#);
    let shapeless = format!(r#"{{"data":{{"plaintext":["{text}"]}}}}"#);
    for (status, body) in [(400, echo.as_str()), (403, &echo), (200, &shapeless)] {
        proxy.next_at("/encrypt/", Fault::Answer(Answer::new(status, body)), 1);
        if let Err(error) = external.unlocker().seal(&key, b"bound").await {
            *shown += &format!("{error} {error:?}");
        }
    }
    proxy.next_at("/decrypt/", Fault::Answer(Answer::new(200, shapeless.as_str())), 1);
    external.unlocker().open(&sealed, b"bound").await.unwrap();
    secret.close().await;
    let hex = "5a".repeat(32);
    vec![text, hex, format!("{:?}", key.expose()), "Z".repeat(32)]
}

#[cfg(not(feature = "envelope"))]
async fn wrapped(_: &Server, _: &Proxy, _: &mut String) -> Vec<String> {
    Vec::new()
}
