//! Refusals: by a policy, and of tokens that are gone.

use std::sync::Arc;

use futures::future::join_all;
use kms_backend::{Backend, BackendError, RemoteSigner};
use serde_json::json;

use super::fake::FakeVault;

/// A login whose token may not sign, as 64 callers have just found out.
async fn denied() -> (FakeVault, Arc<dyn Backend>, Arc<dyn RemoteSigner>) {
    let vault = FakeVault::start(3600).await;
    let backend = vault.open(json!({})).await.unwrap();
    let signer = vault.signer(&*backend).await;
    vault.with(|state| state.may_sign = false);
    all_are_denied(&vault, &signer).await;
    (vault, backend, signer)
}

async fn all_are_denied(vault: &FakeVault, signer: &Arc<dyn RemoteSigner>) {
    for outcome in join_all((0..64_u8).map(|_| vault.sign_by(signer, b"m"))).await {
        let denied = outcome.unwrap_err();
        assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
    }
}

#[tokio::test]
async fn what_a_new_token_may_not_do_either_is_denied_and_does_not_log_in_again_and_again() {
    let (vault, _backend, signer) = denied().await;
    assert_eq!(vault.count("/login"), 2);
    let signed = vault.count("/sign/");
    for round in 1..=10 {
        all_are_denied(&vault, &signer).await;
        assert_eq!(vault.count("/sign/"), signed + 64 * round);
    }
    assert_eq!(vault.count("/login"), 2);
    // One finds out for all that the token is good.
    assert!(vault.count("/lookup-self") < 11 * 16, "{}", vault.count("/lookup-self"));
}

#[tokio::test]
async fn a_token_that_is_revoked_after_a_denial_is_replaced_at_once() {
    let (vault, _backend, signer) = denied().await;
    vault.with(|state| {
        state.may_sign = true;
        state.good_tokens.clear();
    });
    for outcome in join_all((0..64_u8).map(|_| vault.sign_by(&signer, b"m"))).await {
        outcome.unwrap();
    }
    assert_eq!(vault.count("/login"), 3);

    // And one that is revoked while the denial lasts leads to one login more, and no other.
    vault.with(|state| state.may_sign = false);
    all_are_denied(&vault, &signer).await;
    let before = vault.count("/login");
    vault.with(|state| state.good_tokens.clear());
    for _ in 0..3 {
        all_are_denied(&vault, &signer).await;
    }
    assert_eq!(vault.count("/login"), before + 1);
    vault.with(|state| state.may_sign = true);
    vault.sign_by(&signer, b"m").await.unwrap();
}

#[tokio::test]
async fn a_token_that_may_not_look_itself_up_is_not_taken_for_gone() {
    let vault = FakeVault::start(3600).await;
    let backend = vault.open(json!({})).await.unwrap();
    let signer = vault.signer(&*backend).await;
    vault.with(|state| (state.may_sign, state.may_look_up) = (false, false));
    for _ in 0..3 {
        all_are_denied(&vault, &signer).await;
    }
    assert_eq!((vault.count("/login"), vault.count("/lookup-self")), (2, 1));
}

#[tokio::test]
async fn a_file_with_a_new_token_is_read_once_the_old_one_is_gone_also_after_a_denial() {
    let vault = FakeVault::start(3600).await;
    let token = vault.token_file("first-token");
    let backend = vault.open(json!({"auth": {"token": {"file": token}}})).await.unwrap();
    let signer = vault.signer(&*backend).await;
    vault.with(|state| state.may_sign = false);
    all_are_denied(&vault, &signer).await;
    vault.with(|state| {
        state.may_sign = true;
        state.good_tokens.clear();
    });
    vault.token_file("second-token");
    vault.sign_by(&signer, b"m").await.unwrap();
}
