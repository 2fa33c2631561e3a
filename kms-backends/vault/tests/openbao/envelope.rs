//! A keystore that a key of Transit opens.

use std::sync::Arc;
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, Request,
};
use kms_backend_keystore::{KeystoreSettings, Store, UnlockSettings, inspect_header};
use kms_backend_vault::VaultUnlock;
use kms_keys::KeyType;
use kms_peers::{Fault, Proxy};
use serde_json::{Value, json};

use super::support::{Server, context, id};

const RULES: &str = r#"path "transit/decrypt/node" { capabilities = ["update"] }
path "transit/encrypt/node" { capabilities = ["update"] }"#;

const OPENS_ALONE: &str = r#"path "transit/decrypt/node" { capabilities = ["update"] }"#;

const NOTHING: &str = r#"path "transit/decrypt/other" { capabilities = ["update"] }"#;

async fn server() -> Server {
    let server = Server::dev().await;
    server.bao.must(&["write", "-f", "transit/keys/node"]);
    server
}

fn unlock(server: &Server, fields: Value) -> VaultUnlock {
    let mut section = json!({
        "address": server.bao.url(), "allow_http": true, "auth": {"token": {"file": "root-token"}},
        "key": "node",
    });
    for (name, value) in fields.as_object().unwrap() {
        section[name] = value.clone();
    }
    serde_json::from_value(section).unwrap()
}

fn store(unlock: &VaultUnlock) -> KeystoreSettings<VaultUnlock> {
    let (path, if_missing) = ("store".into(), IfMissing::Generate);
    KeystoreSettings { path, unlock: unlock.clone(), create: true, if_missing }
}

async fn open(
    server: &Server,
    settings: &KeystoreSettings<VaultUnlock>,
) -> Result<Arc<dyn Backend>, BackendError> {
    settings.open(&context(server.folder.path())).await
}

async fn close(backend: Arc<dyn Backend>) {
    backend.close().await;
}

fn text(error: &BackendError) -> String {
    ErrorChain(error).to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_store_opens_by_itself_until_the_policy_is_taken_away() {
    let server = server().await;
    let auth = server.token_with("opener", RULES);
    let settings = store(&unlock(&server, json!({ "auth": auth })));
    let backend = open(&server, &settings).await.unwrap();
    let mut keys = Vec::new();
    for key_type in [KeyType::Ed25519, KeyType::Secp256k1, KeyType::Bls12381] {
        let mut spec = KeySpec::new(id(key_type.as_str()), key_type);
        spec.if_missing = IfMissing::Generate;
        keys.push((spec.clone(), backend.register(&spec).await.unwrap().info.public_key));
    }
    close(backend).await;

    // Who opens needs no more than that.
    server.bao.policy("opener", OPENS_ALONE);
    let backend = open(&server, &settings).await.unwrap();
    for (mut spec, public_key) in keys {
        spec.if_missing = IfMissing::Fail;
        assert_eq!(backend.register(&spec).await.unwrap().info.public_key, public_key);
    }
    close(backend).await;

    server.bao.policy("opener", NOTHING);
    let refused = open(&server, &settings).await.err().unwrap();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    let text = text(&refused);
    for part in ["unlocker \"first\"", "vault", "key node of mount transit", "403", "denied"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    server.bao.policy("opener", OPENS_ALONE);
    close(open(&server, &settings).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn without_the_right_to_seal_no_store_is_made() {
    let server = server().await;
    let auth = server.token_with("opener", OPENS_ALONE);
    let settings = store(&unlock(&server, json!({ "auth": auth })));
    let refused = open(&server, &settings).await.err().unwrap();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert!(!server.folder.path().join("store").exists());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn another_key_or_store_does_not_open_it() {
    let server = server().await;
    let settings = store(&unlock(&server, json!({})));
    close(open(&server, &settings).await.unwrap()).await;
    server.bao.must(&["write", "-f", "transit/keys/other"]);
    let other = store(&unlock(&server, json!({"key": "other"})));
    let refused = open(&server, &other).await.err().unwrap();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");

    // The key of then was deleted, and another made under its name.
    server.bao.must(&["write", "transit/keys/node/config", "deletion_allowed=true"]);
    server.bao.must(&["delete", "transit/keys/node"]);
    let refused = open(&server, &settings).await.err().unwrap();
    assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
    server.bao.must(&["write", "-f", "transit/keys/node"]);
    let refused = open(&server, &settings).await.err().unwrap();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_mount_of_another_engine_opens_no_store_and_is_named() {
    let server = server().await;
    server.bao.must(&["secrets", "enable", "-path=values", "-version=1", "kv"]);
    let refused = open(&server, &store(&unlock(&server, json!({"mount": "values"})))).await;
    let refused = refused.err().unwrap();
    assert!(matches!(refused, BackendError::Misconfigured(_)), "{refused:?}");
    assert!(text(&refused).contains("mount values is a secrets engine of type kv"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_sealed_key_is_bound_to_its_store() {
    let server = server().await;
    let unlock = unlock(&server, json!({}));
    let secret = unlock.secret(&context(server.folder.path())).await.unwrap();
    let kms_backend_keystore::UnlockSecret::External(external) = &secret else { panic!() };
    let key = kms_secrets::SecretArray::init_with(|key| key.fill(0x5a));
    let sealed = external.unlocker().seal(&key, b"one store").await.unwrap();
    let opened = external.unlocker().open(&sealed, b"one store").await.unwrap();
    assert_eq!(opened.expose(), key.expose());
    let refused = external.unlocker().open(&sealed, b"other store").await.unwrap_err();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    for nonsense in [&b""[..], b"vault:v1:AAAA", b"\"}\xff"] {
        let refused = external.unlocker().open(nonsense, b"one store").await.unwrap_err();
        assert!(!refused.is_retryable(), "{refused:?}");
    }
    secret.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_server_that_is_away_is_asked_again() {
    let server = server().await;
    let settings = store(&unlock(&server, json!({})));
    close(open(&server, &settings).await.unwrap()).await;
    let proxy = Proxy::before(server.bao.address()).await;
    let remote = json!({"retry": {"first": "10ms"}});
    let by_proxy = json!({"address": proxy.url(), "remote": remote});
    let settings = store(&unlock(&server, by_proxy));
    proxy.next_at("/decrypt/", Fault::Garbage(10), 2);
    close(open(&server, &settings).await.unwrap()).await;

    // No longer than the start may take.
    proxy.next_at("/decrypt/", Fault::Garbage(10), 1000);
    let begun = std::time::Instant::now();
    let until = begun + Duration::from_millis(500);
    let refused = Request::until(until).scope(open(&server, &settings)).await.err().unwrap();
    assert!(matches!(refused, BackendError::Unavailable(_)), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn the_header_says_which_key_and_not_where() {
    let server = server().await;
    let unlock = unlock(&server, json!({}));
    close(open(&server, &store(&unlock)).await.unwrap()).await;
    let secret = unlock.secret(&context(server.folder.path())).await.unwrap();
    let path = server.folder.path().join("store");
    let (secret, header) = tokio::task::spawn_blocking(move || {
        let store = Store::open(&path, &secret).unwrap();
        (secret, serde_json::to_value(store.unlockers()).unwrap())
    })
    .await
    .unwrap();
    secret.close().await;
    let kind = json!({"external": {"provider": "vault", "parameters": {"key": "node", "mount": "transit"}}});
    assert_eq!(header[0]["kind"], kind);
    let whole = json!({"version": 1, "store": "00".repeat(16), "unlockers": header});
    inspect_header(&serde_json::to_vec(&whole).unwrap()).unwrap();
}
