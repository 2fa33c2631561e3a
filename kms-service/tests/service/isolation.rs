//! What goes wrong with one request costs no other anything.

use std::time::Duration;

use kms_backend::HealthLevel;
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
    let (node, api) = node(json!({})).await;
    let far = id("far");
    node.script.when(Act::Sign(far.clone()), Does::Stuck);
    let wanted = sent(api.sign(&far, "m")).await;
    node.script.seen(Act::Sign(far.clone()), 1).await;
    drop(wanted);
    // It is given up in its own task, whenever that comes to it.
    within(async {
        while api.health().await.unwrap().counters.abandoned == 0 {
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
    assert_eq!((counters.expired, counters.abandoned), (2, 0));
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
    assert!(api.sign(&id("far-too"), "m").await.is_err(), "it is the same backend");
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
