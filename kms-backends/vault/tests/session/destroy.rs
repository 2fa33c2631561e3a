//! Destroying a key, at servers that can disable it first and at those that can't.

use kms_backend::{BackendError, KeySpec, KeyState, Operation};
use kms_keys::{KeyId, KeyType};
use kms_peers::paired;
use serde_json::json;

use super::fake::FakeVault;

#[tokio::test]
async fn a_server_that_cannot_disable_keys_destroys_one_that_is_in_use() {
    let vault = FakeVault::start(3600).await;
    let id = KeyId::new("node/identity").unwrap();
    let spec = KeySpec::new(id.clone(), KeyType::Ed25519);
    let backend = vault.open(json!({})).await.unwrap();
    let refused = backend.destroy(&id).await.unwrap_err();
    assert!(matches!(refused, BackendError::Unsupported(Operation::Destroy)), "{refused:?}");

    let backend = vault.open(json!({"allow_deletion": true})).await.unwrap();
    assert_eq!(backend.register(&spec).await.unwrap().info.state, KeyState::Active);
    let refused = backend.disable(&id).await.unwrap_err();
    assert!(matches!(refused, BackendError::Unsupported(Operation::Disable)), "{refused:?}");
    assert_eq!(backend.enable(&id).await.unwrap().state, KeyState::Active);
    backend.destroy(&id).await.unwrap();
    let gone = backend.register(&spec).await.unwrap_err();
    assert!(matches!(gone, BackendError::NotFound(_)), "{gone:?}");
}

#[tokio::test]
async fn a_server_that_can_disable_keys_destroys_none_that_is_in_use() {
    let vault = FakeVault::start(3600).await;
    let id = KeyId::new("node/identity").unwrap();
    let audit = json!({"audit": {"file": "audit.log"}});
    let backend = vault.open(json!({"allow_deletion": true, "remote": audit})).await.unwrap();
    vault.with(|state| state.disabled = Some(false));
    let refused = backend.destroy(&id).await.unwrap_err();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert_eq!(vault.count("DELETE"), 0);
    vault.with(|state| state.disabled = Some(true));
    backend.destroy(&id).await.unwrap();
    assert_eq!(vault.count("DELETE"), 1);
    backend.close().await;
    let records = paired(&[&vault.path("audit.log")]);
    let asked = records.iter().filter(|record| record["event"] == "request").count();
    assert_eq!(asked, vault.count(""), "there is not one pair for each request");
}
