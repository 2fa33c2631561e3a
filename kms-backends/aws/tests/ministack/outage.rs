//! A server that is killed and comes back.

use std::sync::Arc;
use std::time::Duration;

use kms_backend::{Request, Signer};
use kms_keys::{KeyType, SigningScheme};
use kms_peers::Callers;
use serde_json::json;

use crate::scene::{Scene, generated, proved};

/// More than the server may take to start again.
const TIME: Duration = Duration::from_secs(120);

/// What the server has when it is killed is what it wrote down before: the keys, which signing leaves as
/// they are.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_server_that_is_killed_while_64_sign_costs_nobody_a_signature() {
    let remote = json!({ "retry": { "limit": 100, "first": "20ms", "longest": "1s" } });
    let mut scene = Scene::with(json!({ "remote": remote })).await;
    let aws = scene.open().await;
    let mut keys = Vec::new();
    for (id, key_type) in [("node", KeyType::Ed25519), ("proposer", KeyType::Secp256k1)] {
        keys.push(aws.register(&generated(id, key_type)).await.unwrap());
    }
    let made = scene.server.keys();
    scene.server.save().await;

    let signers = Arc::new(keys.clone());
    let callers = Callers::start(64, move |task| {
        let signers = Arc::clone(&signers);
        async move {
            let key = &signers[task % 2];
            let Signer::Remote(signer) = &key.signer else { panic!("a key left AWS") };
            let scheme = key.info.public_key.key_type().default_scheme();
            let message = [task as u8; 32];
            let until = std::time::Instant::now() + TIME;
            // One answer for each question, and the right one.
            let signature =
                Request::until(until).scope(signer.sign(scheme, &message)).await.unwrap();
            key.info.public_key.verify(scheme, &message, &signature).unwrap();
        }
    });
    callers.go_on().await;
    scene.server.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.server.start_again().await;
    callers.go_on().await;
    callers.end().await;

    proved(&keys[0], SigningScheme::Ed25519).await.unwrap();
    for key in &keys {
        let id = key.info.id.as_str();
        let again = aws.register(&generated(id, key.info.public_key.key_type())).await.unwrap();
        assert_eq!(again.info, key.info);
    }
    assert_eq!(scene.server.keys(), made);
}
