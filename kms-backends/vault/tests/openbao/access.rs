//! What isn't allowed, isn't there, or isn't open, told apart.

use kms_backend::{BackendError, HealthLevel};
use kms_keys::SigningScheme;
use serde_json::json;

use super::support::{Server, generated, signer, there};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_mount_without_rights_is_denied_and_one_that_is_missing_is_misconfigured() {
    let server = Server::dev().await;
    server.bao.must(&["secrets", "enable", "-path=team-b/transit", "transit"]);
    let rules = r#"path "transit/*" { capabilities = ["create", "read", "update", "list"] }
        path "nowhere/*" { capabilities = ["create", "read", "update", "list"] }"#;
    let auth = server.token_with("team-a", rules);
    let open = async |mount: &str| server.open(json!({"auth": auth, "mount": mount})).await;

    let allowed = open("transit").await;
    allowed.register(&generated("a")).await.unwrap();
    let absent = allowed.register(&there("b")).await.unwrap_err();
    assert!(matches!(absent, BackendError::NotFound(_)), "{absent:?}");

    let denied = open("team-b/transit").await;
    for spec in [there("a"), generated("a")] {
        let denied = denied.register(&spec).await.unwrap_err();
        assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
    }
    let missing = open("nowhere").await;
    for spec in [there("a"), generated("a")] {
        let missing = missing.register(&spec).await.unwrap_err();
        assert!(matches!(missing, BackendError::Misconfigured(_)), "{missing:?}");
        assert!(missing.to_string().contains("nowhere"), "{missing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_mount_of_another_engine_is_misconfigured_and_nothing_is_written_there() {
    let server = Server::dev().await;
    server.bao.must(&["secrets", "enable", "-path=values", "-version=1", "kv"]);
    server.bao.must(&["secrets", "enable", "-path=team/versioned", "-version=2", "kv"]);
    server.bao.must(&["namespace", "create", "far"]);
    server.bao.must(&["secrets", "enable", "-namespace=far", "-path=transit", "kv"]);
    let rules = r#"path "values/*" { capabilities = ["create", "read", "update"] }"#;
    let auth = server.token_with("node", rules);
    for fields in [
        json!({"mount": "values"}),
        json!({"mount": "values", "auth": auth}),
        json!({"mount": "values/below"}),
        json!({"mount": "team/versioned"}),
        json!({"mount": "transit", "namespace": "far"}),
    ] {
        let refused = server.try_open(fields.clone()).await.err().unwrap();
        assert!(matches!(refused, BackendError::Misconfigured(_)), "{refused:?}");
        let (text, mount) = (refused.to_string(), fields["mount"].as_str().unwrap());
        assert!(text.contains(&format!("mount {mount}")), "{text}");
        assert!(text.contains("type kv, expected transit"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn who_may_only_sign_signs_and_makes_nothing() {
    let server = Server::dev().await;
    server.open(json!({})).await.register(&generated("a")).await.unwrap();
    let rules = r#"path "transit/keys/a" { capabilities = ["read"] }
        path "transit/sign/a" { capabilities = ["update"] }"#;
    let backend = server.open(json!({"auth": server.token_with("signer", rules)})).await;
    let key = backend.register(&there("a")).await.unwrap();
    signer(&key).sign(SigningScheme::Ed25519, b"m").await.unwrap();
    let denied = backend.rotate(&key.info.id).await.unwrap_err();
    assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
    let denied = backend.list(&kms_backend::PageRequest::first(1)).await.unwrap_err();
    assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_sealed_server_is_unavailable_and_failed() {
    let server = Server::dev().await;
    let quickly =
        json!({"remote": {"retry": {"limit": 2, "first": "10ms"}, "health_interval": "50ms"}});
    let backend = server.open(quickly).await;
    let key = backend.register(&generated("a")).await.unwrap();
    assert_eq!(backend.health().await.level, HealthLevel::Ok);
    server.bao.seal();
    let sealed = signer(&key).sign(SigningScheme::Ed25519, b"m").await.unwrap_err();
    assert!(sealed.is_retryable() && sealed.to_string().contains("sealed"), "{sealed:?}");
    let health = loop {
        let health = backend.health().await;
        if health.level != HealthLevel::Ok {
            break health;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(health.level, HealthLevel::Failed);
    assert!(health.reasons.concat().contains("sealed"), "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_server_that_the_authority_does_not_vouch_for_is_not_talked_to() {
    let server = Server::raft().await;
    server.open(json!({})).await.register(&generated("a")).await.unwrap();

    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let ca = server.secret_file("other.pem", &other.cert.pem());
    for tls in [json!({"ca": ca}), json!({})] {
        let begun = std::time::Instant::now();
        let patient = json!({"tls": tls, "remote": {"retry": {"first": "10s"}}});
        let refused = server.try_open(patient).await.err().unwrap();
        assert!(matches!(refused, BackendError::Misconfigured(_)), "{refused:?}");
        assert!(refused.to_string().contains("certificate"), "{refused}");
        assert!(begun.elapsed().as_secs() < 4, "it was tried again");
    }
}
