//! What goes wrong on the way, and what comes of it.

use std::time::Duration;

use kms_backend::{BackendError, BackendSettings, ErrorChain};
use kms_keys::{KeyType, SigningScheme};
use kms_peers::{Answer, Fault};
use serde_json::json;

use crate::scene::{ACCESS_KEY_ID, Scene, generated, proved, settings, write_secret};

/// AWS' answer with this error.
fn refusal(status: u16, code: &str) -> Fault {
    let body = json!({ "__type": code, "message": "told by the test" });
    Fault::Answer(Answer::new(status, body.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_passes_is_tried_again() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let key = aws.register(&generated("node", KeyType::Secp256k1)).await.unwrap();
    for (fault, times) in [
        (refusal(400, "ThrottlingException"), 5),
        (refusal(500, "KMSInternalException"), 2),
        (Fault::Answer(Answer::new(503, "<html>busy</html>")), 2),
        (Fault::CutRequest, 2),
        (Fault::CutAnswer, 2),
        (Fault::HalfAnswer, 1),
        (Fault::Garbage(1000), 1),
        (Fault::Answer(Answer::new(200, "no JSON")), 1),
        (Fault::Answer(Answer::new(200, vec![b' '; 8 * 1024 * 1024])), 1),
    ] {
        let before = scene.proxy.count("Sign");
        scene.proxy.next_at("Sign", fault.clone(), times);
        proved(&key, SigningScheme::EcdsaSha256).await.unwrap();
        assert_eq!(scene.proxy.count("Sign") - before, times + 1, "{times}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_is_for_good_is_tried_once() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let key = aws.register(&generated("node", KeyType::Secp256k1)).await.unwrap();
    let signature = Answer::new(200, json!({ "Signature": "AAAA" }).to_string());
    for (fault, class) in [
        (refusal(400, "AccessDeniedException"), "denied"),
        (Fault::Answer(Answer::new(403, "<html>no</html>")), "denied"),
        (refusal(400, "UnrecognizedClientException"), "denied"),
        (refusal(400, "NotFoundException"), "not_found"),
        (refusal(400, "ValidationException"), "misconfigured"),
        (Fault::Answer(signature), "corrupt"),
        (Fault::Answer(Answer::new(200, "{}")), "corrupt"),
    ] {
        let before = scene.proxy.count("Sign");
        scene.proxy.next_at("Sign", fault, 1);
        let refused = proved(&key, SigningScheme::EcdsaSha256).await.unwrap_err();
        let text = ErrorChain(&refused).to_string();
        assert!(text.contains("node"), "{text}");
        assert_eq!(kms_backend_remote::class(&refused), class, "{text}");
        assert_eq!(scene.proxy.count("Sign") - before, 1, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_lost_answer_makes_no_second_usable_key() {
    // Longer than an answer is waited for.
    let late = Fault::Delay(Duration::from_secs(4));
    for fault in [Fault::CutAnswer, Fault::HalfAnswer, late] {
        let scene = Scene::new().await;
        let aws = scene.open().await;
        for operation in ["CreateKey", "CreateAlias"] {
            let made = scene.server.keys().len();
            scene.proxy.next_at(operation, fault.clone(), 1);
            let id = operation.to_lowercase();
            let key = aws.register(&generated(&id, KeyType::Ed25519)).await.unwrap();
            proved(&key, SigningScheme::Ed25519).await.unwrap();
            // A key whose name got lost on the way is given it again.
            let expected = if operation == "CreateKey" { 2 } else { 1 };
            assert_eq!(scene.server.keys().len() - made, expected, "{operation} {fault:?}");
        }
        scene.usable(2).await;
        let rotated = {
            scene.proxy.next_at("CreateKey", fault.clone(), 1);
            scene.proxy.next_at("UpdateAlias", fault.clone(), 1);
            aws.rotate(&generated("createkey", KeyType::Ed25519).id).await.unwrap()
        };
        assert_eq!((rotated.info.version, rotated.older.len()), (2, 1));
        scene.usable(3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_a_failed_or_abandoned_creation_leaves_is_scheduled_for_deletion() {
    let remote = json!({ "timeout": "2s", "retry": { "first": "20ms", "limit": 3 } });
    let scene = Scene::with(json!({ "remote": remote })).await;
    let aws = scene.open().await;
    let spec = generated("node", KeyType::Ed25519);
    scene.proxy.next_at("CreateKey", Fault::CutAnswer, 3);
    let failed = aws.register(&spec).await.unwrap_err();
    assert!(matches!(failed, BackendError::Unavailable(_)), "{failed:?}");
    assert_eq!(scene.server.keys().len(), 3);
    scene.usable(0).await;

    scene.proxy.next_at("CreateAlias", refusal(400, "AccessDeniedException"), 1);
    let failed = aws.register(&spec).await.unwrap_err();
    assert!(matches!(failed, BackendError::Denied(_)), "{failed:?}");
    assert_eq!(scene.server.keys().len(), 4);
    scene.usable(0).await;

    scene.proxy.next_at("CreateKey", Fault::Delay(Duration::from_secs(5)), 1);
    let is_made = async {
        while scene.server.keys().len() < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        registered = aws.register(&spec) => panic!("it has an answer: {registered:?}"),
        () = is_made => {}
    }
    scene.usable(0).await;
    assert_eq!(scene.server.keys().len(), 5);

    let key = aws.register(&spec).await.unwrap();
    proved(&key, SigningScheme::Ed25519).await.unwrap();
    scene.usable(1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_lost_answer_to_a_change_is_found_out() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let spec = generated("node", KeyType::Ed25519);
    aws.register(&spec).await.unwrap();
    let week = Duration::from_secs(7 * 86_400);
    for operation in ["DisableKey", "EnableKey", "ScheduleKeyDeletion", "CancelKeyDeletion"] {
        scene.proxy.next_at(operation, Fault::CutAnswer, 1);
        let changed = match operation {
            "DisableKey" => aws.disable(&spec.id).await,
            "EnableKey" => aws.enable(&spec.id).await,
            "ScheduleKeyDeletion" => aws.schedule_delete(&spec.id, week).await,
            _ => aws.cancel_delete(&spec.id).await,
        };
        changed.unwrap();
        assert_eq!(scene.proxy.count(operation), 1, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_disabled_key_is_loaded_by_its_pinned_public_key_if_aws_keeps_that_back() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let mut spec = generated("node", KeyType::Ed25519);
    let key = aws.register(&spec).await.unwrap();
    let disabled = aws.disable(&spec.id).await.unwrap();
    let refused = || scene.proxy.next_at("GetPublicKey", refusal(409, "DisabledException"), 1);

    refused();
    let unknown = scene.open().await.register(&spec).await.unwrap_err();
    assert!(matches!(unknown, BackendError::Denied(_)), "{unknown:?}");
    refused();
    spec.public_key = Some(key.info.public_key.clone());
    let pinned = scene.open().await.register(&spec).await.unwrap();
    assert_eq!(pinned.info, disabled);
    assert!(proved(&pinned, SigningScheme::Ed25519).await.is_err());
    // One that is not disabled has to prove itself.
    aws.enable(&spec.id).await.unwrap();
    refused();
    let unproved = scene.open().await.register(&spec).await.unwrap_err();
    assert!(matches!(unproved, BackendError::Denied(_)), "{unproved:?}");
    // Fewer questions where the answer is known.
    let asked = scene.proxy.count("GetPublicKey");
    aws.register(&spec).await.unwrap();
    assert_eq!(scene.proxy.count("GetPublicKey"), asked);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn credentials_that_are_refused_are_read_again() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();
    let new = "[node]\naws_access_key_id = AKIANEW\naws_secret_access_key = new\n";
    write_secret(&scene.folder, "credentials", new);
    scene.proxy.next_at("Sign", refusal(400, "UnrecognizedClientException"), 1);
    proved(&key, SigningScheme::Ed25519).await.unwrap();
    let seen = scene.proxy.seen();
    let signs = seen.iter().filter(|it| it.head.contains("TrentService.Sign"));
    let heads: Vec<_> = signs.map(|it| it.field("authorization").unwrap().to_owned()).collect();
    assert!(heads[0].contains(ACCESS_KEY_ID) && heads[1].contains("AKIANEW"), "{heads:?}");
    assert_eq!(heads.len(), 2);

    // Refused for good: the same credentials are not tried twice.
    scene.proxy.next_at("Sign", refusal(403, "InvalidSignatureException"), 1);
    let refused = proved(&key, SigningScheme::Ed25519).await.unwrap_err();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    let text = ErrorChain(&refused).to_string();
    assert!(text.contains("InvalidSignatureException") && !text.contains("told"), "{text}");
    assert_eq!(scene.proxy.count("Sign"), 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_start_without_aws_or_with_bad_settings_says_why() {
    let scene = Scene::new().await;
    for code in ["UnrecognizedClientException", "InvalidSignatureException"] {
        scene.proxy.next_at("ListAliases", refusal(403, code), 1);
        let refused = scene.settings.open(&scene.context()).await.err().unwrap();
        assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    }
    // Who may not list aliases may still sign with keys that the settings name.
    scene.proxy.next_at("ListAliases", refusal(400, "AccessDeniedException"), 2);
    scene.open().await;

    for (more, expected) in [
        (json!({ "endpoint_override": "kms.example" }), "endpoint_override"),
        (json!({ "credentials": { "profile": { "file": "none" } } }), "none"),
        (
            json!({ "credentials": { "web_identity": {
                "token_file": "t", "role_arn": "r", "endpoint_override": "http://sts.example"
            } } }),
            "https://",
        ),
        (
            json!({ "credentials": { "profile": { "file": "credentials", "name": "x" } } }),
            "no profile x",
        ),
    ] {
        let settings = settings(&scene.proxy.url(), more);
        let refused = settings.open(&scene.context()).await.err().unwrap();
        let text = ErrorChain(&refused).to_string();
        assert!(matches!(refused, BackendError::Misconfigured(_)), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}
