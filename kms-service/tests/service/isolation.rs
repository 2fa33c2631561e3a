//! What goes wrong with one request costs no other anything.

use std::error::Error as _;
use std::pin::Pin;
use std::time::Duration;

use kms_backend::{BackendError, HealthLevel};
use kms_keys::KeyType;
use kms_service::{KeyRequest, KmsApi, KmsError};
use serde_json::{Value, json};

use crate::support::*;

async fn node(limits: Value) -> (TestNode, KmsApi) {
    let keys = json!([
        { "id": "good", "type": "ed25519" },
        { "id": "slow", "type": "ed25519" },
        { "id": "bls", "type": "bls12-381" },
        { "id": "slow-bls", "type": "bls12-381" },
        { "id": "single", "type": "ed25519" },
        { "id": "single-bls", "type": "bls12-381" },
        { "id": "far", "type": "ed25519" },
        { "id": "far-too", "type": "ed25519" }
    ]);
    let script = Script::default();
    script.remote(&id("far"));
    script.remote(&id("far-too"));
    let node = TestNode::started_with(keys, limits, &script).await;
    let api = node.api().await;
    (node, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_remote_key_delays_no_other() {
    let (node, api) = node(json!({})).await;
    let far = id("far");
    node.script.when(Act::Sign(far.clone()), Does::Stuck);
    let hung = sent(api.sign(&far, "m")).await;
    works(&api).await;
    api.sign(&id("bls"), "m").await.unwrap();
    api.sign(&id("far-too"), "m").await.unwrap();
    api.rotate(&far).await.unwrap();
    node.script.all_right();
    hung.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_change_delays_no_other_key() {
    let (node, api) = node(json!({})).await;
    node.script.when(Act::Register(id("new")), Does::Stuck);
    let hung = sent(api.register(KeyRequest::new("new", KeyType::Ed25519))).await;
    node.script.seen(Act::Register(id("new")), 1).await;
    works(&api).await;
    api.register(KeyRequest::new("other", KeyType::Ed25519)).await.unwrap();
    api.health().await.unwrap();
    node.script.all_right();
    hung.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn costly_keys_do_not_hold_cheap_ones_up_nor_the_other_way_round() {
    let (node, api) = node(json!({})).await;
    let costly = occupy(&node, &api, &id("slow-bls")).await;
    let bls = id("bls");
    let behind = sent(api.sign(&bls, "m")).await;
    works(&api).await;
    assert_eq!(node.script.count(&Act::Sign(bls.clone())), 0);
    node.script.all_right();
    for request in costly {
        request.await.unwrap();
    }
    behind.await.unwrap();

    let cheap = occupy(&node, &api, &id("slow")).await;
    api.sign(&bls, "m").await.unwrap();
    node.script.all_right();
    for request in cheap {
        request.await.unwrap();
    }
}

/// How many signatures of `key` in a large request are made before a single one that came behind it.
async fn made_before(
    slow: &str,
    large: impl Fn(&KmsApi) -> Large<'_>,
    key: &str,
    single: &str,
) -> usize {
    let (node, api) = node(json!({ "threads": { "cheap": 1, "costly": 1 } })).await;
    let (slow, key, single) = (Act::Sign(id(slow)), Act::Sign(id(key)), Act::Sign(id(single)));
    let Act::Sign(slow_key) = &slow else { unreachable!() };
    let Act::Sign(single_key) = &single else { unreachable!() };
    node.script.when(slow.clone(), Does::Stuck);
    node.script.when(single.clone(), Does::Stuck);
    let busy = sent(api.sign(slow_key, "m")).await;
    node.script.seen(slow.clone(), 1).await;
    let large = sent(large(&api)).await;
    let behind = sent(api.sign(single_key, "m")).await;
    api.health().await.unwrap();
    node.script.when(slow, Does::Right);
    node.script.seen(single, 1).await;
    let made = node.script.count(&key);
    node.script.all_right();
    assert_eq!(large.await.unwrap(), 40);
    for request in [busy, behind] {
        request.await.unwrap();
    }
    made
}

type Large<'a> = Pin<Box<dyn Future<Output = Result<usize, KmsError>> + Send + 'a>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_lets_single_ones_in_between() {
    fn many<'a>(api: &'a KmsApi, key: &'static str) -> Large<'a> {
        Box::pin(async move {
            let outcomes = api.sign_many(&id(key), None, vec![vec![1]; 40]).await?;
            Ok(outcomes.into_iter().filter(Result::is_ok).count())
        })
    }
    fn aggregate(api: &KmsApi) -> Large<'_> {
        Box::pin(async move {
            let aggregate = api.sign_aggregate(&vec![id("bls"); 40], "m").await?;
            Ok(aggregate.public_keys.len())
        })
    }
    // It takes turns with what is long, and the first.
    assert_eq!(made_before("slow", |api| many(api, "good"), "good", "single").await, 0);
    assert_eq!(made_before("slow-bls", |api| many(api, "bls"), "bls", "single-bls").await, 0);
    assert_eq!(made_before("slow-bls", aggregate, "bls", "single-bls").await, 0);
}

/// What was done is given out before an operator begins, and what comes behind finds another thread.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_hangs_keeps_no_signature() {
    let (node, api) = node(json!({ "threads": { "cheap": 2 } })).await;
    let (good, slow) = (id("good"), id("slow"));
    let signing = Act::Sign(slow.clone());
    node.script.when(signing.clone(), Does::Stuck);
    let busy = [sent(api.sign(&slow, "1")).await, sent(api.sign(&slow, "2")).await];
    node.script.seen(signing, 2).await;
    let before = sent(api.sign(&good, "before")).await;
    let hangs = sent(api.execute(&good, HANGS, [])).await;
    let behind: Vec<_> =
        [sent(api.sign(&good, "a")).await, sent(api.sign(&good, "b")).await].into();
    api.health().await.unwrap();
    node.script.all_right();
    for request in busy.into_iter().chain([before]).chain(behind) {
        within(request).await.unwrap();
    }
    let_go();
    hangs.await.unwrap();
}

/// However often threads are made by threads, each has the priority of its lane.
#[tokio::test(flavor = "multi_thread")]
async fn threads_that_take_the_place_of_others_have_their_priority() {
    let (_node, api) = node(json!({ "threads": { "cheap": 3, "costly": 3 } })).await;
    for _ in 0..20 {
        let each = ["good", "bls"].map(|key| {
            let api = api.clone();
            tokio::spawn(async move { api.sign_many(&id(key), None, vec![vec![1]; 60]).await })
        });
        for signed in each {
            signed.await.unwrap().unwrap();
        }
    }
    let own = rustix::process::getpriority_process(None).unwrap();
    let mut seen = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, fields) = stat.rsplit_once(')').unwrap();
        let nice: i32 = fields.split(' ').nth(17).unwrap().parse().unwrap();
        for (lane, more) in [("(kms-cheap", 8), ("(kms-costly", 12)] {
            if name.contains(lane) {
                assert_eq!(nice, (own + more).min(19), "{stat}");
                seen += 1;
            }
        }
    }
    assert!(seen > 2, "there are {seen} threads to look at");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panic_is_counted_and_costs_one_request() {
    let (node, api) = node(json!({})).await;
    for key in ["slow", "bls", "far"] {
        node.script.when(Act::Sign(id(key)), Does::Panic);
    }
    // More often than a lane has threads: none is lost.
    for round in 1..=10 {
        for key in ["slow", "bls", "far"] {
            assert_refused!(api.sign(&id(key), "m").await, KmsError::Internal);
        }
        assert_refused!(api.execute(&id("good"), PANICS, []).await, KmsError::Internal);
        works(&api).await;
        assert_eq!(api.health().await.unwrap().counters.panics, 4 * round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gone_caller_wanted_is_not_signed() {
    let (node, api) = node(json!({})).await;
    let busy = occupy(&node, &api, &id("slow")).await;
    let (good, slow) = (id("good"), id("slow"));
    give_up(api.sign(&good, "m")).await;
    give_up(api.sign_many(&good, None, vec![vec![1]; 9])).await;
    give_up(api.execute(&good, PANICS, [])).await;
    // The others come out in between.
    let wanted = sent(api.sign(&slow, "m")).await;
    api.public_key(&good).await.unwrap();
    node.script.all_right();
    for request in busy {
        request.await.unwrap();
    }
    wanted.await.unwrap();
    works(&api).await;
    let counters = api.health().await.unwrap().counters;
    assert_eq!((counters.abandoned, counters.panics), (3, 0));
    assert_eq!(node.script.count(&Act::Sign(good)), 1, "by `works`");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gone_caller_wanted_elsewhere_is_given_up() {
    let (node, api) = node(json!({ "queue": 1 })).await;
    let far = id("far");
    node.script.when(Act::Sign(far.clone()), Does::Stuck);
    let wanted = sent(api.sign(&far, "m")).await;
    node.script.seen(Act::Sign(far.clone()), 1).await;
    assert_refused!(api.sign(&id("far-too"), "m").await, KmsError::Overloaded { .. });
    drop(wanted);
    // It leaves its place when it is given up in its own task, whenever that comes to it.
    within(async {
        while api.sign(&id("far-too"), "m").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_late_is_not_signed() {
    let (node, api) = node(json!({ "deadline": "2s" })).await;
    let slow = id("slow");
    let busy = occupy(&node, &api, &slow).await;
    let good = id("good");
    let late = sent(api.sign(&good, "m")).await;
    // As soon as this one has run out of time, the one before has too.
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    assert_refused!(api.sign(&id("far"), "m").await, KmsError::DeadlineExceeded);
    node.script.all_right();
    assert_refused!(late.await, KmsError::DeadlineExceeded);
    for request in busy {
        // What runs is not cut off: it was made, and its caller still waits.
        request.await.unwrap();
    }
    let counters = api.health().await.unwrap().counters;
    // What was under way elsewhere was not dropped unsigned, for all that is known.
    assert_eq!((counters.expired, counters.abandoned), (1, 0));
    assert_eq!(node.script.count(&Act::Sign(good)), 0);
    works(&api).await;
}

/// A backend that fails again and again is left alone, and asked again later. Keys elsewhere go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_remote_backend_is_left_alone_for_a_while() {
    let (node, api) = node(json!({})).await;
    let far = id("far");
    node.script.when(Act::Sign(far.clone()), Does::Fail(Does::CLASSES[6]));
    let mut asked = 0;
    while node.script.count(&Act::Sign(far.clone())) == asked {
        let refused = api.sign(&far, "m").await.unwrap_err();
        assert!(refused.is_retryable(), "{refused:?}");
        asked += 1;
        assert!(asked < 100, "it is asked for ever");
    }
    // The last one was not asked any more.
    let asked = node.script.count(&Act::Sign(far.clone()));
    let health = api.health().await.unwrap();
    assert_eq!(health.level, HealthLevel::Failed, "{health:?}");
    let refused = api.sign(&id("far-too"), "m").await.expect_err("it is the same backend");
    assert!(refused.source().is_some(), "it doesn't say how it failed: {refused}");
    works(&api).await;
    assert_eq!(node.script.count(&Act::Sign(far.clone())), asked);

    node.script.all_right();
    within(async {
        while api.sign(&far, "m").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(api.health().await.unwrap().level, HealthLevel::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_which_nothing_was_signed_is_a_failure_too() {
    let (node, api) = node(json!({})).await;
    let far = id("far");
    node.script.when(Act::Sign(far.clone()), Does::Fail(Does::CLASSES[6]));
    let mut asked = 0;
    while let Ok(outcomes) = api.sign_many(&far, None, vec![vec![1]; 3]).await {
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        asked += 1;
        assert!(asked < 100, "it is asked for ever");
    }
    assert_eq!(node.script.count(&Act::Sign(far)), 3 * asked, "the last one was not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_with_little_patience_find_out_that_nobody_answers() {
    let (node, api) = node(json!({})).await;
    let (far, hurry) = (id("far"), Duration::from_millis(150));
    node.script.when(Act::Sign(far.clone()), Does::Stuck);
    within(async {
        while let Err(KmsError::DeadlineExceeded) = api.sign(&far, "m").deadline(hurry).await {}
    })
    .await;
    let refused = api.sign(&far, "m").await;
    assert_refused!(refused, KmsError::Backend(BackendError::Unavailable(_)));
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_elsewhere_leaves_places_to_others() {
    let (node, api) = node(json!({ "queue": 8 })).await;
    let (far, single) = (id("far"), id("far-too"));
    node.script.when(Act::Sign(far.clone()), Does::Stuck);
    let mut flood = Vec::new();
    for _ in 0..7 {
        flood.push(sent(api.sign(&far, "m")).await);
    }
    node.script.seen(Act::Sign(far.clone()), 7).await;
    assert_refused!(api.sign(&single, "m").await, KmsError::Overloaded { .. });
    node.proposer().await.sign(&single, "m").await.unwrap();
    node.script.all_right();
    for request in flood {
        request.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_runs_out_of_time_keeps_what_it_has() {
    // With more threads it would be signed in parts.
    let (node, api) = node(json!({ "deadline": "2s", "threads": { "cheap": 1 } })).await;
    let slow = id("slow");
    node.script.when(Act::Sign(slow.clone()), Does::Stuck);
    let batch = sent(api.sign_many(&slow, None, vec![vec![1]; 3])).await;
    node.script.seen(Act::Sign(slow.clone()), 1).await;
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    assert_refused!(api.sign(&id("far"), "m").await, KmsError::DeadlineExceeded);
    node.script.all_right();
    let mut outcomes = batch.await.unwrap().into_iter();
    outcomes.next().unwrap().unwrap();
    for cut_off in outcomes {
        assert_refused!(cut_off, KmsError::DeadlineExceeded);
    }
    assert_eq!(node.script.count(&Act::Sign(slow)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_out_once_a_key_is_disabled() {
    let (node, api) = node(json!({})).await;
    for key in ids(["slow", "slow-bls", "far"]) {
        node.script.when(Act::Sign(key.clone()), Does::Stuck);
        let one = sent(api.sign(&key, "m")).await;
        let many = sent(api.sign_many(&key, None, vec![vec![1], vec![2]])).await;
        node.script.seen(Act::Sign(key.clone()), 1).await;
        api.disable(&key).await.unwrap();
        node.script.all_right();
        assert_refused!(one.await, KmsError::Disabled { .. });
        assert_refused!(many.await, KmsError::Disabled { .. });
    }
    let bls = id("bls");
    node.script.when(Act::Sign(bls.clone()), Does::Stuck);
    let both = [bls.clone(), bls.clone()];
    let aggregate = sent(api.sign_aggregate(&both, "m")).await;
    node.script.seen(Act::Sign(bls.clone()), 1).await;
    api.schedule_delete(&bls, Duration::ZERO).await.unwrap();
    node.script.all_right();
    assert_refused!(aggregate.await, KmsError::PendingDeletion { .. });
    works(&api).await;
}
