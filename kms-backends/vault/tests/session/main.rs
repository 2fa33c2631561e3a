//! Logging in, renewing and giving back, against a server of the tests' own that can be told to refuse.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod denied;
mod destroy;
mod fake;
mod recorded;

use std::time::{Duration, Instant};

use fake::FakeVault;
use futures::future::join_all;
use kms_backend::{BackendError, HealthLevel};
use serde_json::json;

/// Waits until this holds.
async fn until(holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never holds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let vault = FakeVault::start(3).await;
    let backend = vault.open(json!({})).await.unwrap();
    until(async || vault.count("renew-self") == 2).await;
    assert_eq!(vault.count("/login"), 1);
    vault.sign(&*backend).await.unwrap();
    assert_eq!(backend.health().await.level, HealthLevel::Ok);
}

#[tokio::test]
async fn a_token_that_can_be_renewed_no_further_is_replaced() {
    // None at all is not for ever.
    for renewed_ttl in [1, 0] {
        let vault = FakeVault::start(3).await;
        let backend = vault.open(json!({})).await.unwrap();
        vault.with(|state| state.renewed_ttl = renewed_ttl);
        until(async || vault.count("/login") == 2).await;
        assert_eq!(vault.count("renew-self"), 1);
        vault.sign(&*backend).await.unwrap();
    }
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_and_told_of() {
    // Long enough that a busy machine gets to renew before the end.
    let vault = FakeVault::start(6).await;
    let settings = json!({"remote": {"health_interval": "100ms"}});
    let backend = vault.open(settings).await.unwrap();
    vault.with(|state| state.renewals_fail = true);
    until(async || backend.health().await.level == HealthLevel::Degraded).await;
    let health = backend.health().await;
    assert!(health.reasons.concat().contains("renew"), "{health:?}");
    until(async || vault.count("renew-self") > 1).await;
    vault.with(|state| state.renewals_fail = false);
    until(async || backend.health().await.level == HealthLevel::Ok).await;
    assert_eq!(vault.count("/login"), 1);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_once_for_all() {
    let vault = FakeVault::start(3600).await;
    let backend = vault.open(json!({})).await.unwrap();
    let signer = vault.signer(&*backend).await;
    vault.with(|state| state.good_tokens.clear());
    let signed = join_all((0..64_u8).map(|round| {
        let (vault, signer) = (&vault, &signer);
        async move { vault.sign_by(signer, &[round]).await }
    }));
    for outcome in signed.await {
        outcome.unwrap();
    }
    assert_eq!(vault.count("/login"), 2);
}

#[tokio::test]
async fn a_login_that_is_refused_says_so_and_nothing_of_the_secret() {
    let vault = FakeVault::start(3600).await;
    vault.with(|state| state.may_log_in = false);
    let error = vault.open(json!({})).await.err().unwrap();
    assert!(matches!(error, BackendError::WrongSecret(_)), "{error:?}");
    assert!(!format!("{error:?}").contains(fake::SECRET_ID), "{error:?}");
    assert_eq!(vault.count("/login"), 1);
}

#[tokio::test]
async fn a_token_is_given_back_only_if_it_was_logged_in_for() {
    let vault = FakeVault::start(3600).await;
    let backend = vault.open(json!({})).await.unwrap();
    let signer = vault.signer(&*backend).await;
    backend.close().await;
    backend.close().await;
    assert_eq!(vault.count("revoke-self"), 1);
    // And what is still there doesn't log in again.
    let denied = vault.sign_by(&signer, b"m").await.unwrap_err();
    assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
    assert_eq!(vault.count("/login"), 1);

    let token = vault.token_file("token-of-somebody-else");
    let backend = vault.open(json!({"auth": {"token": {"file": token}}})).await.unwrap();
    vault.sign(&*backend).await.unwrap();
    backend.close().await;
    assert_eq!((vault.count("revoke-self"), vault.count("/login")), (1, 1));
}

#[tokio::test]
async fn a_token_file_is_read_again_when_its_token_is_refused() {
    let vault = FakeVault::start(3600).await;
    let token = vault.token_file("first-token");
    let backend = vault.open(json!({"auth": {"token": {"file": token}}})).await.unwrap();
    let signer = vault.signer(&*backend).await;
    vault.with(|state| state.good_tokens.clear());
    let denied = vault.sign_by(&signer, b"m").await.unwrap_err();
    assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
    vault.token_file("second-token");
    vault.sign_by(&signer, b"m").await.unwrap();
}

#[tokio::test]
async fn a_signature_by_another_key_is_refused_unless_that_is_meant() {
    let vault = FakeVault::start(3600).await;
    let backend = vault.open(json!({})).await.unwrap();
    let signer = vault.signer(&*backend).await;
    vault.with(|state| state.swap_key());
    let refused = vault.sign_by(&signer, b"m").await.unwrap_err();
    assert!(matches!(refused, BackendError::Corrupt(_)), "{refused:?}");
    assert!(refused.to_string().contains("node/identity"), "{refused}");
    assert_eq!(vault.count("/sign/"), 1);
    let trusting = vault.open(json!({"remote": {"verify": false}})).await.unwrap();
    let signer = vault.signer(&*trusting).await;
    signer.sign(kms_keys::SigningScheme::Ed25519, b"m").await.unwrap();
}

#[tokio::test]
async fn a_batch_is_few_requests_and_each_message_has_its_outcome() {
    let vault = FakeVault::start(3600).await;
    let backend = vault.open(json!({})).await.unwrap();
    let signer = vault.signer(&*backend).await;
    let messages: Vec<_> = (0..300_u16).map(|number| number.to_be_bytes().to_vec()).collect();
    vault.with(|state| state.bad_message = Some(messages[7].clone()));
    let outcomes = signer.sign_many(kms_keys::SigningScheme::Ed25519, &messages).await;
    for (index, (outcome, message)) in outcomes.iter().zip(&messages).enumerate() {
        match outcome {
            Ok(signature) => vault.check(message, signature),
            Err(error) => {
                assert!(index == 7 && matches!(error, BackendError::Misconfigured(_)), "{error:?}");
            }
        }
    }
    assert_eq!((outcomes.len(), vault.count("/sign/")), (300, 3));
}
