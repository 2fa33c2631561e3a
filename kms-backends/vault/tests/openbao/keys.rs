//! What is done to keys beyond the contract.

use kms_backend::{BackendError, KeyState, Operation, PageRequest};
use kms_keys::SigningScheme;
use serde_json::json;

use super::support::{Server, generated, id, signer, there};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_key_is_made_so_that_it_never_leaves() {
    let server = Server::dev().await;
    let backend = server.open(json!({})).await;
    backend.register(&generated("node/identity")).await.unwrap();
    let refused = server.bao.run(&["read", "transit/export/signing-key/node_2Fidentity"]);
    assert!(refused.unwrap_err().contains("not exportable"));
    let refused = server.bao.run(&["read", "transit/backup/node_2Fidentity"]);
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn two_nodes_that_make_the_same_key_get_the_same_key() {
    let server = Server::dev().await;
    let (one, other) = (server.open(json!({})).await, server.open(json!({})).await);
    for round in 0..10 {
        let spec = generated(&format!("node/{round}"));
        let (one, other) = tokio::join!(one.register(&spec), other.register(&spec));
        assert_eq!(one.unwrap().info, other.unwrap().info);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_key_that_is_rotated_by_another_node_signs_with_the_version_it_was_registered_with() {
    let server = Server::dev().await;
    let (one, other) = (server.open(json!({})).await, server.open(json!({})).await);
    let before = one.register(&generated("a")).await.unwrap();
    let after = other.rotate(&id("a")).await.unwrap();
    assert_eq!((before.info.version, after.info.version), (1, 2));
    for key in [&before, &after] {
        let signature = signer(key).sign(SigningScheme::Ed25519, b"m").await.unwrap();
        key.info.public_key.verify(SigningScheme::Ed25519, b"m", &signature).unwrap();
    }
    // Once the server forbids the older version, it isn't offered and doesn't sign.
    server.bao.must(&["write", "transit/keys/a/config", "min_encryption_version=2"]);
    assert!(one.register(&there("a")).await.unwrap().older.is_empty());
    let refused = signer(&before).sign(SigningScheme::Ed25519, b"m").await.unwrap_err();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_disabled_key_is_refused_by_the_server_itself() {
    let server = Server::dev().await;
    let backend = server.open(json!({})).await;
    let key = backend.register(&generated("a")).await.unwrap();
    backend.disable(&id("a")).await.unwrap();
    let refused = signer(&key).sign(SigningScheme::Ed25519, b"m").await.unwrap_err();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    backend.enable(&id("a")).await.unwrap();
    signer(&key).sign(SigningScheme::Ed25519, b"m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_key_is_destroyed_only_if_that_is_allowed_and_it_is_disabled() {
    let server = Server::dev().await;
    let backend = server.open(json!({})).await;
    backend.register(&generated("a")).await.unwrap();
    backend.disable(&id("a")).await.unwrap();
    let refused = backend.destroy(&id("a")).await.unwrap_err();
    assert!(matches!(refused, BackendError::Unsupported(Operation::Destroy)), "{refused:?}");

    let backend = server.open(json!({"allow_deletion": true})).await;
    backend.enable(&id("a")).await.unwrap();
    let refused = backend.destroy(&id("a")).await.unwrap_err();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert_eq!(backend.disable(&id("a")).await.unwrap().state, KeyState::Disabled);
    backend.destroy(&id("a")).await.unwrap();
    for gone in [backend.destroy(&id("a")).await, backend.register(&there("a")).await.map(drop)] {
        assert!(matches!(gone, Err(BackendError::NotFound(_))), "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn keys_of_others_in_the_same_mount_are_not_listed() {
    let server = Server::dev().await;
    server.bao.must(&["write", "-f", "transit/keys/my_key", "type=ed25519"]);
    server.bao.must(&["write", "-f", "transit/keys/storage", "type=aes256-gcm96"]);
    let backend = server.open(json!({})).await;
    assert!(backend.list(&PageRequest::first(10)).await.unwrap().keys.is_empty());
    backend.register(&generated("b/c")).await.unwrap();
    backend.register(&generated("b.c")).await.unwrap();
    let listed = backend.list(&PageRequest::first(10)).await.unwrap();
    let ids: Vec<_> = listed.keys.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(ids, ["b.c", "b/c"]);
    let refused = backend.register(&generated("storage")).await.unwrap_err();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
}
