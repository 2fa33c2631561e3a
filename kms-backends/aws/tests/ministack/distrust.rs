//! A server with TLS that no authority vouches for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kms_backend::{BackendError, BackendSettings, ErrorChain, OpenContext};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::scene::{settings, write_profile, write_secret};

/// A server that shakes hands and counts who comes.
struct Untrusted {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Untrusted {
    async fn start() -> Self {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let (config, connections) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut client = client.into_std().unwrap();
                client.set_nonblocking(false).unwrap();
                let mut server = ServerConnection::new(Arc::clone(&config)).unwrap();
                // The client goes away in the middle of it.
                tokio::task::spawn_blocking(move || drop(server.complete_io(&mut client)));
            }
        });
        Self { url, connections }
    }

    /// This is said of it, after one look.
    fn is_refused(&self, refused: &BackendError) {
        let text = ErrorChain(refused).to_string();
        assert!(matches!(refused, BackendError::Misconfigured(_)), "{text}");
        assert!(text.contains("certificate") && text.contains("UnknownIssuer"), "{text}");
        assert_eq!(self.connections.load(Ordering::SeqCst), 1, "{text}");
    }
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_profile(&folder);
    write_secret(&folder, "token", "a-token");
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_vouches_for_is_asked_once() {
    let (server, folder) = (Untrusted::start().await, folder());
    let settings = settings(&server.url, json!({}));
    let refused = settings.open(&OpenContext::new("cloud", folder.path())).await.err().unwrap();
    server.is_refused(&refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_nobody_vouches_for_is_asked_once() {
    let (server, folder) = (Untrusted::start().await, folder());
    let credentials = json!({ "credentials": { "web_identity": {
        "token_file": "token",
        "role_arn": "arn:aws:iam::000000000000:role/node",
        "endpoint_override": server.url
    } } });
    let settings = settings("http://127.0.0.1:1", credentials);
    let refused = settings.open(&OpenContext::new("cloud", folder.path())).await.err().unwrap();
    server.is_refused(&refused);
}

#[cfg(feature = "envelope")]
#[tokio::test(flavor = "multi_thread")]
async fn a_store_s_key_is_asked_for_once_where_nobody_vouches_for_the_server() {
    use kms_backend_aws::AwsUnlock;
    use kms_backend_keystore::{UnlockSecret, UnlockSettings};

    let (server, folder) = (Untrusted::start().await, folder());
    let unlock: AwsUnlock = serde_json::from_value(json!({
        "region": "us-east-1", "endpoint_override": server.url, "key": "alias/node",
        "credentials": { "profile": { "file": "credentials", "name": "node" } },
        "remote": { "retry": { "first": "20ms" } }
    }))
    .unwrap();
    let secret = unlock.secret(&OpenContext::new("store", folder.path())).await.unwrap();
    let UnlockSecret::External(external) = secret else { panic!("a passphrase") };
    let refused = external.unlocker().open(b"sealed", b"bound").await.unwrap_err();
    server.is_refused(&refused);
}
