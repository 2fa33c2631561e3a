//! Keys that were made and got no alias, and keys whose alias is only not seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kms_keys::{KeyType, SigningScheme};
use kms_peers::{Answer, Fault, Ministack, Proxy, Request};
use serde_json::{Value, json};

use crate::scene::{Scene, generated, proved};

/// What AWS shows instead while it doesn't show aliases.
fn without_aliases(request: &Request) -> Option<Answer> {
    let operation = request.field("x-amz-target")?.rsplit('.').next()?;
    let asked: Value = serde_json::from_slice(&request.body).ok()?;
    let by_alias = asked["KeyId"].as_str().is_some_and(|key| key.starts_with("alias/"));
    match operation {
        "ListAliases" => {
            Some(Answer::new(200, json!({ "Aliases": [], "Truncated": false }).to_string()))
        }
        "DescribeKey" if by_alias => {
            Some(Answer::new(400, json!({ "__type": "NotFoundException" }).to_string()))
        }
        _ => None,
    }
}

/// A server, and whether its aliases are shown.
async fn scene() -> (Scene, Arc<AtomicBool>) {
    let (server, shown) = (Ministack::start().await, Arc::new(AtomicBool::new(true)));
    let is_shown = Arc::clone(&shown);
    let alter = move |request: &Request| {
        if is_shown.load(Ordering::SeqCst) { None } else { without_aliases(request) }
    };
    let proxy = Proxy::altering(server.address(), alter).await;
    (Scene::behind(server, proxy, json!({})), shown)
}

impl Scene {
    /// A key such as a process leaves that ends before it gives the alias; AWS' name for it.
    fn left_over(&self, id: &str) -> String {
        self.left_over_by("alias/kms/", id)
    }

    /// The same by one whose aliases begin so.
    fn left_over_by(&self, prefix: &str, id: &str) -> String {
        let (creation, alias) = ("0123456789abcdef", format!("{prefix}{id}"));
        let tags = [
            ("kms-id", id),
            ("kms-version", "1"),
            ("kms-creation", creation),
            ("kms-alias", &alias),
        ];
        let tags = tags.map(|(key, value)| json!({ "TagKey": key, "TagValue": value }));
        let made = self.server.must(
            "CreateKey",
            &json!({ "KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY", "Tags": tags }),
        );
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    fn described(&self, aws_id: &str) -> Value {
        self.server.must("DescribeKey", &json!({ "KeyId": aws_id }))["KeyMetadata"].take()
    }

    fn states<const N: usize>(&self, keys: [&String; N]) -> [String; N] {
        keys.map(|key| self.described(key)["KeyState"].as_str().unwrap().to_owned())
    }

    fn name(&self, alias: &str, aws_id: &str) {
        let alias = json!({ "AliasName": alias, "TargetKeyId": aws_id });
        self.server.must("CreateAlias", &alias);
    }

    /// For in how many days this key's deletion is scheduled.
    fn given_up(&self, aws_id: &str) -> Option<f64> {
        let described = self.described(aws_id);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let at = described["DeletionDate"].as_f64()?;
        (described["KeyState"] == "PendingDeletion").then_some((at - now) / 86_400.0)
    }

    /// How often this key was asked for its aliases.
    fn looks_at(&self, aws_id: &str) -> usize {
        let is_it = |request: &Request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            request.head.contains("TrentService.ListAliases")
                && body["KeyId"].as_str().is_some_and(|arn| arn.ends_with(aws_id))
        };
        self.proxy.seen().iter().filter(|request| is_it(request)).count()
    }
}

/// Waits until there is something.
async fn until<T>(there: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(it) = there() {
            return it;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it never is");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Lets hours pass, after one of which a key that still has no alias gets none any more, until there is
/// something. More than one: what is under way when it passes is done later.
async fn hours_later<T>(there: impl Fn() -> Option<T>) -> T {
    for _ in 0..15 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3601)).await;
        tokio::time::resume();
        for _ in 0..20 {
            if let Some(it) = there() {
                return it;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    panic!("it never is")
}

#[tokio::test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_a_process_left_that_ended_before_the_alias_is_given_up_when_the_key_is_made_again() {
    let (scene, _) = scene().await;
    let left = [
        scene.left_over("other"),
        scene.left_over("node"),
        scene.left_over("node"),
        scene.left_over("node"),
        scene.left_over_by("alias/other/", "node"),
        scene.left_over("node"),
    ];
    let [others, named, disabled, late, elsewhere, orphan] = left.each_ref();
    // By another node, whose aliases begin otherwise.
    scene.name("alias/elsewhere/node", named);
    scene.server.must("DisableKey", &json!({ "KeyId": disabled }));

    // Whose tags can't be read keeps no other from being found.
    let denied = json!({ "__type": "AccessDeniedException", "message": "no" }).to_string();
    scene.proxy.next_at("ListResourceTags", Fault::Answer(Answer::new(400, denied)), 1);

    let aws = scene.open().await;
    let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();
    until(|| (scene.looks_at(orphan) > 0).then_some(())).await;
    let before = ["Enabled", "Enabled", "Disabled", "Enabled", "Enabled", "Enabled"];
    assert_eq!(scene.looks_at(elsewhere), 0);
    assert_eq!(scene.states(left.each_ref()), before);
    // By another node that was slow, or an alias that was moved.
    scene.name("alias/kms/late", late);
    let days = hours_later(|| scene.given_up(orphan)).await;
    assert!((29.0..31.0).contains(&days), "{days}");
    // They were looked at before it, in the order in which they were made.
    assert_eq!(scene.states([others, named, disabled, late, elsewhere]), before[..5]);
    assert_eq!(scene.looks_at(elsewhere), 0);
    proved(&key, SigningScheme::Ed25519).await.unwrap();
}

#[tokio::test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_was_left_is_also_looked_for_when_a_new_key_is_loaded_and_when_one_is_rotated() {
    let (scene, _) = scene().await;
    scene.name("alias/kms/node", &scene.left_over("node"));
    let orphan = scene.left_over("node");
    let spec = generated("node", KeyType::Ed25519);
    let aws = scene.open().await;
    aws.register(&spec).await.unwrap();
    until(|| (scene.looks_at(&orphan) > 0).then_some(())).await;
    hours_later(|| scene.given_up(&orphan)).await;

    let orphan = scene.left_over("node");
    let rotated = aws.rotate(&spec.id).await.unwrap();
    until(|| (scene.looks_at(&orphan) > 0).then_some(())).await;
    hours_later(|| scene.given_up(&orphan)).await;
    proved(&rotated, SigningScheme::Ed25519).await.unwrap();
    scene.usable(2).await;
}

#[tokio::test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_key_whose_alias_is_not_seen_yet_is_never_given_up() {
    for is_answer_lost in [false, true] {
        let (scene, shown) = scene().await;
        let aws = scene.open().await;
        scene.proxy.next_at("CreateKey", Fault::CutAnswer, 1);
        if is_answer_lost {
            scene.proxy.next_at("CreateAlias", Fault::CutAnswer, 1);
        }
        shown.store(false, Ordering::SeqCst);
        let spec = generated("node", KeyType::Ed25519);
        let keys = {
            let mut registering = aws.register(&spec);
            loop {
                let waited = tokio::time::timeout(Duration::from_secs(1), &mut registering).await;
                assert!(waited.is_err(), "{waited:?}");
                let keys = scene.server.keys();
                if keys.len() == 2 && scene.proxy.count("CreateAlias") > 0 {
                    break keys;
                }
            }
        };
        let [lost, named] = [0, 1].map(|number| keys[number]["KeyId"].as_str().unwrap().to_owned());
        let days = until(|| scene.given_up(&lost)).await;
        assert!((6.0..8.0).contains(&days), "{days}");
        if is_answer_lost {
            until(|| (scene.looks_at(&named) > 0).then_some(())).await;
        }
        // What was found together has been looked at together.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(scene.states([&named]), ["Enabled"], "{is_answer_lost}");

        shown.store(true, Ordering::SeqCst);
        if is_answer_lost {
            let before = scene.looks_at(&named);
            hours_later(|| (scene.looks_at(&named) > before).then_some(())).await;
        }
        let key = aws.register(&spec).await.unwrap();
        proved(&key, SigningScheme::Ed25519).await.unwrap();
        assert_eq!(scene.server.keys().len(), 2);
        scene.usable(1).await;
    }
}

#[tokio::test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_key_that_may_have_got_its_alias_is_given_up_when_it_still_has_none_later() {
    let (scene, _) = scene().await;
    let aws = scene.open().await;
    scene.proxy.next_at("CreateAlias", Fault::CutRequest, 1000);
    let failed = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap_err();
    assert!(failed.is_retryable(), "{failed:?}");
    let keys = scene.server.keys();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let made = keys[0]["KeyId"].as_str().unwrap().to_owned();
    until(|| (scene.looks_at(&made) > 0).then_some(())).await;
    assert_eq!(scene.states([&made]), ["Enabled"]);
    hours_later(|| scene.given_up(&made)).await;
}
