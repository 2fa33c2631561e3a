//! A server that goes away and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::RemoteSigner;
use kms_peers::Callers;
use serde_json::json;

use super::support::{Server, generated, sign, signer};

/// More than the server may take to start again.
const TIME: Duration = Duration::from_secs(120);

/// 64 tasks that sign, and have every signature they ask for.
fn signing(signer: Arc<dyn RemoteSigner>) -> Callers {
    Callers::start(64, move |task| {
        let signer = Arc::clone(&signer);
        async move { sign(&*signer, &[task as u8; 100], TIME).await.unwrap() }
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_server_that_is_killed_while_64_sign_costs_nobody_a_signature() {
    let mut server = Server::raft().await;
    let backend = server.open(json!({"remote": {"retry": {"limit": 100, "longest": "1s"}}})).await;
    let key = backend.register(&generated("a")).await.unwrap();
    let signing = signing(signer(&key));
    signing.go_on().await;
    server.bao.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.bao.start_again().await;
    signing.go_on().await;
    signing.end().await;
    let again = backend.register(&generated("a")).await.unwrap();
    assert_eq!(again.info, key.info);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_server_that_is_sealed_for_five_seconds_costs_nobody_a_signature() {
    let server = Server::dev().await;
    let backend = server.open(json!({"remote": {"retry": {"limit": 100, "longest": "1s"}}})).await;
    let signing = signing(signer(&backend.register(&generated("a")).await.unwrap()));
    signing.go_on().await;
    server.bao.seal();
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.bao.unseal();
    signing.go_on().await;
    signing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn many_at_once_are_signed_at_least_five_times_as_fast() {
    let server = Server::dev().await;
    let backend = server.open(json!({})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    let messages: Vec<_> = (0..512_u32).map(|number| number.to_be_bytes().to_vec()).collect();
    let scheme = kms_keys::SigningScheme::Ed25519;
    for message in &messages[..64] {
        sign(&*signer, message, TIME).await.unwrap();
    }
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let begun = Instant::now();
        for message in &messages[..256] {
            signer.sign(scheme, message).await.unwrap();
        }
        let single = 256.0 / begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        for outcome in signer.sign_many(scheme, &messages).await {
            outcome.unwrap();
        }
        let many = 512.0 / begun.elapsed().as_secs_f64();
        println!("single {single:.0}/s, many {many:.0}/s");
        best = best.max(many / single);
    }
    assert!(best >= 5.0, "{best:.1} times");
}
