//! Keys there: made, named, found, changed, signed with.

use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding};
use kms_backend::conformance::{self, Fixture, Provisioned};
use kms_backend::{
    Backend, BackendError, ErrorChain, HealthLevel, IfMissing, KeySpec, KeyState, OpenContext,
    async_trait,
};
use kms_backend_aws::AwsSettings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use serde_json::json;

use crate::scene::{Scene, generated, key_id, proved, remote};

#[async_trait]
impl Fixture for Scene {
    type Settings = AwsSettings;

    fn settings(&self) -> AwsSettings {
        self.settings.clone()
    }

    fn context(&self) -> OpenContext {
        self.context()
    }

    async fn provision(&self, id: KeyId, key_type: KeyType) -> Provisioned {
        let mut spec = KeySpec::new(id, key_type);
        spec.if_missing = IfMissing::Generate;
        Provisioned { spec, public_key: None }
    }

    fn absent(&self, id: KeyId, key_type: KeyType) -> KeySpec {
        KeySpec::new(id, key_type)
    }

    async fn damage(&self, _: &KeySpec) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn aws_keeps_the_contract() {
    conformance::run(Scene::new().await, Duration::from_secs(120)).await.assert_conformance();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn keys_are_made_with_names_and_tags_and_found_again() {
    let scene = Scene::with(json!({
        "description": "a proposer's", "tags": { "owner": "validators" }
    }))
    .await;
    let aws = scene.open().await;
    let made = aws.register(&generated("node/a.b_c", KeyType::Secp256k1)).await.unwrap();
    proved(&made, SigningScheme::EcdsaSha256).await.unwrap();
    let keys = scene.server.keys();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0]["KeySpec"], "ECC_SECG_P256K1");
    assert_eq!(keys[0]["Description"], "a proposer's");
    let tag = |name: &str| {
        let tags = keys[0]["Tags"].as_array().unwrap();
        tags.iter().find(|tag| tag["TagKey"] == name).unwrap()["TagValue"].clone()
    };
    assert_eq!((tag("kms-id"), tag("kms-version")), (json!("node/a.b_c"), json!("1")));
    assert_eq!(tag("owner"), "validators");
    assert_eq!(tag("kms-creation").as_str().unwrap().len(), 16);
    let alias = json!({ "KeyId": "alias/kms/node/a_-b__c" });
    assert_eq!(scene.server.must("DescribeKey", &alias)["KeyMetadata"]["KeyId"], keys[0]["KeyId"]);

    let spec = KeySpec::new(key_id("node/a.b_c"), KeyType::Secp256k1);
    let again = scene.open().await.register(&spec).await.unwrap();
    assert_eq!(again.info, made.info);
    let other_type = KeySpec::new(key_id("node/a.b_c"), KeyType::Ed25519);
    let refused = aws.register(&other_type).await.unwrap_err();
    assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    let absent = aws.register(&KeySpec::new(key_id("none"), KeyType::Ed25519)).await.unwrap_err();
    assert!(matches!(absent, BackendError::NotFound(_)), "{absent:?}");
    assert!(absent.to_string().contains("alias/kms/none"), "{absent}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn every_ecdsa_signature_is_normalised_and_recoverable() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let key = aws.register(&generated("proposer", KeyType::Secp256k1)).await.unwrap();
    let mut high = 0;
    let asked = json!({
        "KeyId": "alias/kms/proposer", "Message": "AAAA", "MessageType": "RAW",
        "SigningAlgorithm": "ECDSA_SHA_256"
    });
    for round in 0..60_u8 {
        for scheme in [SigningScheme::EcdsaSha256, SigningScheme::EcdsaDigest] {
            let signature = remote(&key).sign(scheme, &[round; 32]).await.unwrap();
            key.info.public_key.verify(scheme, &[round; 32], &signature).unwrap();
            assert!(signature.recovery_id().is_some());
        }
        high += usize::from(is_high_for_sure(&scene.server.must("Sign", &asked)));
    }
    assert!(high > 0, "the server gives high s as well");
}

/// Whether `s` has its highest bit set, which takes a 33rd byte in DER.
fn is_high_for_sure(answer: &serde_json::Value) -> bool {
    let der = Base64::decode_vec(answer["Signature"].as_str().unwrap()).unwrap();
    der[3 + usize::from(der[3]) + 2] == 33
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_ed25519_cannot_sign_there_is_refused_here() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();
    let signer = remote(&key);
    signer.sign(SigningScheme::Ed25519, &[7; 4096]).await.unwrap();
    let asked = scene.proxy.count("Sign");
    for len in [0, 4097] {
        let refused = signer.sign(SigningScheme::Ed25519, &vec![7; len]).await.unwrap_err();
        assert!(matches!(refused, BackendError::Misconfigured(_)), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains("1 to 4096 bytes") && text.contains(&format!("has {len}")), "{text}");
    }
    assert_eq!(scene.proxy.count("Sign"), asked);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_key_by_alias_arn_or_id_is_used_and_never_made() {
    let scene = Scene::new().await;
    let made = scene.server.must(
        "CreateKey",
        &json!({ "KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY" }),
    );
    let made = &made["KeyMetadata"];
    let alias = json!({ "AliasName": "alias/mine", "TargetKeyId": made["KeyId"] });
    scene.server.must("CreateAlias", &alias);
    let keys = json!({
        "by/alias": "alias/mine", "by/id": made["KeyId"], "by/arn": made["Arn"], "none": "alias/none"
    });
    let aws = scene.open_with(json!({ "keys": keys })).await;
    let mut public_keys = Vec::new();
    for id in ["by/alias", "by/id", "by/arn"] {
        let key = aws.register(&generated(id, KeyType::Ed25519)).await.unwrap();
        proved(&key, SigningScheme::Ed25519).await.unwrap();
        public_keys.push(key.info.public_key);
    }
    assert!(public_keys.iter().all(|it| *it == public_keys[0]));
    let refused = aws.register(&generated("none", KeyType::Ed25519)).await.unwrap_err();
    assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
    let refused = aws.rotate(&key_id("by/alias")).await.unwrap_err();
    assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
    assert_eq!(scene.server.keys().len(), 1);

    // An alias that is given to another key doesn't sign as the one that was registered.
    let key = aws.register(&generated("by/alias", KeyType::Ed25519)).await.unwrap();
    let other = scene.server.must(
        "CreateKey",
        &json!({ "KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY" }),
    );
    let moved = json!({ "AliasName": "alias/mine", "TargetKeyId": other["KeyMetadata"]["KeyId"] });
    scene.server.must("UpdateAlias", &moved);
    let refused = proved(&key, SigningScheme::Ed25519).await.unwrap_err();
    assert!(matches!(refused, BackendError::Corrupt(_)), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("by/alias") && text.contains("cloud"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn an_alias_that_is_moved_does_not_change_what_a_registered_key_signs_with() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();
    let other = aws.register(&generated("other", KeyType::Ed25519)).await.unwrap();
    let target = scene.server.must("DescribeKey", &json!({ "KeyId": "alias/kms/other" }));
    let target = &target["KeyMetadata"]["KeyId"];
    let moved = json!({ "AliasName": "alias/kms/node", "TargetKeyId": target });
    scene.server.must("UpdateAlias", &moved);
    proved(&key, SigningScheme::Ed25519).await.unwrap();
    // The service refuses it at its next start, where the settings have the public key.
    let spec = KeySpec::new(key_id("node"), KeyType::Ed25519);
    let again = scene.open().await.register(&spec).await.unwrap();
    assert_eq!(again.info.public_key, other.info.public_key);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_is_disabled_or_pending_deletion_behind_our_back_is_told_apart() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let spec = generated("node", KeyType::Secp256k1);
    let key = aws.register(&spec).await.unwrap();
    let aws_id = scene.server.keys()[0]["KeyId"].clone();
    let refusal = async || {
        let refused = proved(&key, SigningScheme::EcdsaSha256).await.unwrap_err();
        assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
        refused.to_string()
    };

    scene.server.must("DisableKey", &json!({ "KeyId": aws_id }));
    let text = refusal().await;
    assert!(text.contains("DisabledException") && text.contains("node"), "{text}");
    assert_eq!(aws.register(&spec).await.unwrap().info.state, KeyState::Disabled);

    scene.server.must("ScheduleKeyDeletion", &json!({ "KeyId": aws_id, "PendingWindowInDays": 9 }));
    let text = refusal().await;
    assert!(text.contains("KMSInvalidStateException") && text.contains("deletion"), "{text}");
    let state = aws.register(&spec).await.unwrap().info.state;
    let KeyState::PendingDeletion { not_before } = state else { panic!("{state:?}") };
    let days = not_before.duration_since(SystemTime::now()).unwrap().as_secs_f64() / 86_400.0;
    assert!((8.9..9.1).contains(&days), "{days}");

    let week = Duration::from_secs(7 * 86_400);
    for wait in [Duration::ZERO, week - Duration::from_secs(1), week * 5] {
        let refused = aws.schedule_delete(&key_id("node"), wait).await.unwrap_err();
        assert!(matches!(refused, BackendError::Misconfigured(_)), "{refused:?}");
        assert!(refused.to_string().contains("7 to 30 days"), "{refused}");
    }
    let info = aws.cancel_delete(&key_id("node")).await.unwrap();
    assert_eq!(info.state, KeyState::Disabled);
    assert_eq!(aws.enable(&key_id("node")).await.unwrap().state, KeyState::Active);
    proved(&key, SigningScheme::EcdsaSha256).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn two_nodes_that_create_or_rotate_a_key_at_once_get_the_same_one() {
    let scene = Scene::new().await;
    let (one, other) = (scene.open().await, scene.open().await);
    let mut expected = 0;
    for number in 0..5 {
        let spec = generated(&format!("node/{number}"), KeyType::Ed25519);
        let (a, b) = tokio::join!(one.register(&spec), other.register(&spec));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.info, b.info, "{number}");
        let (a, b) = tokio::join!(one.rotate(&spec.id), other.rotate(&spec.id));
        let (a, b) = (a.unwrap(), b.unwrap());
        // Who comes late enough rotates once more.
        let newest = if a.info.version >= b.info.version { &a } else { &b };
        let versions = newest.info.version;
        assert_eq!(newest.older.len() as u32, versions - 1);
        if a.info.version == b.info.version {
            assert_eq!(a.info, b.info);
        }
        proved(&a, SigningScheme::Ed25519).await.unwrap();
        proved(&b, SigningScheme::Ed25519).await.unwrap();
        expected += versions as usize;
    }
    // What was made for nothing is scheduled for deletion.
    scene.usable(expected).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_server_that_goes_away_while_tasks_sign_costs_time_and_nothing_else() {
    let scene = Scene::new().await;
    let aws = scene.open().await;
    let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let key = key.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    proved(&key, SigningScheme::Ed25519).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.proxy.next(kms_peers::Fault::CutRequest, 5);
        scene.proxy.next(kms_peers::Fault::CutAnswer, 5);
    }
    for task in tasks {
        task.await.unwrap();
    }
    becomes(&*aws, HealthLevel::Ok).await;
    // For good: the error says what happened, and health does.
    drop(scene.server);
    let gone = proved(&key, SigningScheme::Ed25519).await.unwrap_err();
    assert!(gone.is_retryable(), "{}", ErrorChain(&gone));
    becomes(&*aws, HealthLevel::Failed).await;
}

/// Waits until the backend is like that.
async fn becomes(aws: &dyn Backend, level: HealthLevel) {
    let begun = std::time::Instant::now();
    loop {
        let health = aws.health().await;
        if health.level == level {
            assert_eq!(health.reasons.is_empty(), level == HealthLevel::Ok, "{health:?}");
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{health:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
