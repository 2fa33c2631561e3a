//! Logging in for real.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use kms_backend::BackendError;
use kms_peers::{Answer, Proxy};
use serde_json::{Value, json};

use super::support::{Server, generated, sign, signer, there};

const RULES: &str =
    r#"path "transit/*" { capabilities = ["create", "read", "update", "delete", "list"] }"#;

/// A server with an AppRole whose tokens live for `ttl` seconds and are renewed up to `max`.
async fn with_approle(ttl: u64, max: u64) -> (Server, Value) {
    let server = Server::dev().await;
    server.bao.policy("node", RULES);
    server.bao.must(&["auth", "enable", "approle"]);
    let (ttl, max) = (format!("token_ttl={ttl}s"), format!("token_max_ttl={max}s"));
    server.bao.must(&["write", "auth/approle/role/node", "token_policies=node", &ttl, &max]);
    let role_id = server.bao.must(&["read", "-field=role_id", "auth/approle/role/node/role-id"]);
    let secret_id =
        server.bao.must(&["write", "-f", "-field=secret_id", "auth/approle/role/node/secret-id"]);
    let secret_id = server.secret_file("secret-id", &secret_id);
    let auth = json!({"approle": {"role_id": role_id.trim(), "secret_id": {"file": secret_id}}});
    (server, auth)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_short_token_is_renewed_and_then_replaced_without_a_failure() {
    let (server, auth) = with_approle(2, 5).await;
    let backend = server.open(json!({"auth": auth})).await;
    let key = backend.register(&generated("a")).await.unwrap();
    let signer = signer(&key);
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(9) {
        sign(&*signer, b"m", Duration::from_secs(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(backend.health().await, kms_backend::Health::ok());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn all_tokens_revoked_at_once_cost_nobody_a_signature() {
    let (server, auth) = with_approle(3600, 7200).await;
    let backend = server.open(json!({"auth": auth})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    server.bao.must(&["lease", "revoke", "-prefix", "-force", "auth/approle"]);
    sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap();
    backend.close().await;
    let left = server.bao.run(&["list", "-format=json", "auth/token/accessors"]).unwrap();
    // Root's own, and no other.
    assert_eq!(serde_json::from_str::<Vec<String>>(&left).unwrap().len(), 1, "{left}");
}

/// A right that is taken away is no reason to pile up tokens: the one that was tried in vain is given back.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_right_that_is_missing_leaves_one_token_and_is_told_though_the_login_fails() {
    let (server, auth) = with_approle(3600, 7200).await;
    let backend = server.open(json!({"auth": auth})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    server.bao.policy("node", r#"path "transit/keys/*" { capabilities = ["read"] }"#);
    let denied = sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
    let left = server.bao.run(&["list", "-format=json", "auth/token/accessors"]).unwrap();
    // Root's own, and the one in use.
    assert_eq!(serde_json::from_str::<Vec<String>>(&left).unwrap().len(), 2, "{left}");

    let backend = server.open(json!({"auth": auth})).await;
    let signer = super::support::signer(&backend.register(&there("a")).await.unwrap());
    server.bao.must(&["delete", "auth/approle/role/node"]);
    let denied = sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_token_that_is_revoked_right_after_a_denial_is_replaced_at_once() {
    let (server, auth) = with_approle(3600, 7200).await;
    let backend = server.open(json!({"auth": auth})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    server.bao.policy("node", r#"path "transit/keys/*" { capabilities = ["read"] }"#);
    for _ in 0..3 {
        let denied = sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(denied, BackendError::Denied(_)), "{denied:?}");
    }
    server.bao.policy("node", RULES);
    server.bao.must(&["lease", "revoke", "-prefix", "-force", "auth/approle"]);
    sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_namespace_has_keys_and_logins_of_its_own() {
    let server = Server::dev().await;
    let bao = &server.bao;
    server.open(json!({})).await.register(&generated("a")).await.unwrap();
    bao.must(&["namespace", "create", "team"]);
    bao.must(&["secrets", "enable", "-namespace=team", "transit"]);
    let backend = server.open(json!({"namespace": "team"})).await;
    assert_eq!(backend.health().await, kms_backend::Health::ok());
    let absent = backend.register(&there("a")).await.unwrap_err();
    assert!(matches!(absent, BackendError::NotFound(_)), "{absent:?}");
    let key = backend.register(&generated("a")).await.unwrap();
    sign(&*signer(&key), b"m", Duration::from_secs(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_token_that_ends_is_told_of_and_a_new_one_in_the_file_is_taken() {
    let server = Server::dev().await;
    server.bao.policy("node", RULES);
    let make = |name: &str| {
        // Long enough for a busy machine to use it before.
        let args = ["token", "create", "-field=token", "-policy=node", "-ttl=10s"];
        let token = server.bao.must(&[&args[..], &["-explicit-max-ttl=10s"]].concat());
        server.secret_file(name, token.trim())
    };
    let file = make("token");
    let auth = json!({"token": {"file": file}});
    let remote = json!({"health_interval": "100ms"});
    let backend = server.open(json!({"auth": auth, "remote": remote})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    let begun = std::time::Instant::now();
    while backend.health().await.level != kms_backend::HealthLevel::Failed {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody is told");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    make("token");
    sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_wrong_secret_id_is_a_wrong_secret() {
    let (server, mut auth) = with_approle(60, 60).await;
    let wrong = server.secret_file("wrong", "5e1f0000-0000-0000-0000-00000000c0de");
    auth["approle"]["secret_id"]["file"] = json!(wrong);
    let refused = server.try_open(json!({"auth": auth})).await.err().unwrap();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    let token = server.secret_file("token", "s.nosuchtoken");
    let bad = json!({"auth": {"token": {"file": token}}});
    let refused = server.try_open(bad).await.err().unwrap();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_pod_logs_in_with_its_service_account() {
    let good = jwt("node");
    let reviewer = {
        let good = good.clone();
        Proxy::answering(move |request| {
            assert!(request.path.ends_with("/tokenreviews"), "{request:?}");
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let authenticated = body["spec"]["token"] == good.as_str();
            let user = json!({
                "username": "system:serviceaccount:default:node",
                "uid": "u1",
                "groups": ["system:serviceaccounts"],
            });
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "status": {
                    "authenticated": authenticated,
                    "user": user,
                    "audiences": ["https://kubernetes.default.svc"],
                },
            });
            Answer::new(201, review.to_string())
        })
        .await
    };
    let server = Server::dev().await;
    let bao = &server.bao;
    bao.policy("node", RULES);
    bao.must(&["auth", "enable", "kubernetes"]);
    let ca = rcgen::generate_simple_self_signed(["cluster".to_owned()]).unwrap();
    bao.must(&[
        "write",
        "auth/kubernetes/config",
        &format!("kubernetes_ca_cert={}", ca.cert.pem()),
        &format!("kubernetes_host={}", reviewer.url()),
        &format!("token_reviewer_jwt={}", jwt("reviewer")),
        "disable_local_ca_jwt=true",
    ]);
    bao.must(&[
        "write",
        "auth/kubernetes/role/node",
        "bound_service_account_names=node",
        "bound_service_account_namespaces=default",
        "token_policies=node",
    ]);
    let path = server.folder.path().join("service-account-token");
    std::fs::write(&path, &good).unwrap();
    let auth = json!({"kubernetes": {"role": "node", "token_file": path}});
    let backend = server.open(json!({"auth": auth})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());

    // The file is read again when there is need of another token.
    std::fs::write(&path, jwt("somebody")).unwrap();
    bao.must(&["lease", "revoke", "-prefix", "-force", "auth/kubernetes"]);
    let refused = sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    std::fs::write(&path, &good).unwrap();
    sign(&*signer, b"m", Duration::from_secs(2)).await.unwrap();
    assert!(reviewer.count("tokenreviews") >= 2);
}

/// A token as a cluster makes them, with a signature that nobody checks.
fn jwt(account: &str) -> String {
    let encode = |value: Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let header = encode(json!({"alg": "RS256", "kid": "k"}));
    let claims = encode(json!({
        "iss": "https://kubernetes.default.svc",
        "sub": format!("system:serviceaccount:default:{account}"),
        "aud": ["https://kubernetes.default.svc"],
        "exp": 4_000_000_000_u64,
        "iat": 1_700_000_000,
        "kubernetes.io": {
            "namespace": "default",
            "serviceaccount": {"name": account, "uid": "u1"},
        },
    }));
    format!("{header}.{claims}.{}", Base64UrlUnpadded::encode_string(&[7; 256]))
}
