//! What gets in the way between here and the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{Backend, BackendError, Health, PageRequest};
use kms_keys::SigningScheme;
use kms_peers::{Answer, Fault, Proxy};
use serde_json::{Value, json};

use super::support::{Server, generated, id, sign, signer};

const TIME: Duration = Duration::from_secs(5);

async fn behind_proxy(remote: Value) -> (Server, Proxy, Arc<dyn Backend>) {
    let server = Server::dev().await;
    let proxy = Proxy::before(server.bao.address()).await;
    let mut fields = json!({"address": proxy.url(), "remote": {
        "retry": {"first": "20ms", "longest": "100ms"}, "health_interval": "1h",
    }});
    for (name, value) in remote.as_object().unwrap() {
        fields["remote"][name] = value.clone();
    }
    let backend = server.open(fields).await;
    (server, proxy, backend)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn what_is_cut_or_garbled_is_asked_again() {
    let (_server, proxy, backend) = behind_proxy(json!({})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    for fault in [
        Fault::CutRequest,
        Fault::CutAnswer,
        Fault::HalfAnswer,
        Fault::Garbage(1000),
        Fault::Answer(Answer::new(200, "<html>")),
        Fault::Answer(Answer::new(200, "{}")),
        Fault::Answer(Answer::new(500, "<html>")),
        Fault::Answer(Answer::new(503, "")),
        Fault::Answer(Answer::new(307, "")),
        Fault::Answer(Answer::new(200, vec![b' '; 1024 * 1024 + 1])),
    ] {
        let before = proxy.count("/sign/");
        proxy.next_at("/sign/", fault.clone(), 2);
        sign(&*signer, b"m", TIME).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(proxy.count("/sign/") - before, 3, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn throttled_five_times_it_signs_the_sixth() {
    let (_server, proxy, backend) = behind_proxy(json!({})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    let slow_down = Answer::new(429, "").field("Retry-After", "0");
    proxy.next_at("/sign/", Fault::Answer(slow_down), 5);
    sign(&*signer, b"m", TIME).await.unwrap();
    assert_eq!(proxy.count("/sign/"), 6);

    // Told to come back after the deadline, it says so at once.
    let later = Answer::new(429, "").field("Retry-After", "60");
    proxy.next_at("/sign/", Fault::Answer(later), 1);
    let begun = Instant::now();
    let error = sign(&*signer, b"m", TIME).await.unwrap_err();
    let BackendError::Throttled { retry_after, .. } = error else { panic!("{error:?}") };
    assert_eq!(retry_after, Some(Duration::from_secs(60)));
    assert!(begun.elapsed() < TIME, "it waited");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn an_answer_that_drips_is_given_up_and_asked_for_again() {
    let (_server, proxy, backend) = behind_proxy(json!({"timeout": "300ms"})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    proxy.next_at("/sign/", Fault::Drip(Duration::from_millis(50)), 1);
    // Neither is there within that time.
    proxy.next_at("/sign/", Fault::Delay(2 * TIME), 1);
    sign(&*signer, b"m", TIME).await.unwrap();
    assert!(proxy.count("/sign/") >= 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_creation_and_a_rotation_whose_answers_are_lost_happen_once() {
    let (server, proxy, backend) = behind_proxy(json!({})).await;
    for fault in [Fault::CutRequest, Fault::CutAnswer, Fault::HalfAnswer] {
        let name = format!("{fault:?}");
        proxy.next_at(&format!("/keys/{name}"), Fault::Answer(not_there()), 1);
        proxy.next_at(&format!("/keys/{name}"), Fault::Answer(not_there()), 1);
        proxy.next_at(&format!("/keys/{name}"), fault.clone(), 1);
        let made = backend.register(&generated(&name)).await.unwrap();
        assert_eq!(made.info.version, 1);
        assert!(proxy.count(&format!("POST /v1/transit/keys/{name}")) <= 2);

        proxy.next_at("/rotate", fault, 1);
        assert_eq!(backend.rotate(&id(&name)).await.unwrap().info.version, 2);
    }
    assert_eq!(server.open(json!({})).await.health().await, Health::ok());
}

fn not_there() -> Answer {
    Answer::new(404, r#"{"errors":[]}"#)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn what_cannot_help_is_asked_once() {
    let (_server, proxy, backend) = behind_proxy(json!({})).await;
    let signer = signer(&backend.register(&generated("a")).await.unwrap());
    for (status, body) in [(400, r#"{"errors":["no"]}"#), (302, ""), (404, r#"{"errors":[]}"#)] {
        let before = proxy.count("/sign/");
        proxy.next_at("/sign/", Fault::Answer(Answer::new(status, body)), 1);
        let error = signer.sign(SigningScheme::Ed25519, b"m").await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
        assert_eq!(proxy.count("/sign/") - before, 1, "{status}");
    }
    // A list that is too long for one answer is an error, not a part of it.
    proxy.next_at("/keys?", Fault::Answer(Answer::new(200, vec![b' '; 2 << 20])), 100);
    let error = backend.list(&PageRequest::first(1)).await.unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
}
