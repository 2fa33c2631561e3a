//! Stopping: idle, at work, with work that hangs, with callers gone, and what there is afterwards.

use std::time::Duration;

use kms_keys::KeyType;
use kms_service::{KeyRequest, KmsError};
use serde_json::{Value, json};

use crate::support::*;

fn keys() -> Value {
    json!([
        { "id": "good", "type": "ed25519" },
        { "id": "slow", "type": "ed25519" },
        { "id": "far", "type": "ed25519" }
    ])
}

async fn node() -> TestNode {
    let script = Script::default();
    script.remote(&id("far"));
    TestNode::started_with(keys(), json!({}), &script).await
}

/// A node on which a batch is signed on one thread, message by message.
async fn node_of_one_thread() -> TestNode {
    let limits = json!({ "threads": { "cheap": 1 } });
    TestNode::started_with(keys(), limits, &Script::default()).await
}

/// Everything that the service had is gone, and gone before the stop was reported.
#[track_caller]
fn all_gone(node: &TestNode, starts: usize) {
    assert_eq!(node.script.count(&Act::Close), starts);
    assert_eq!(node.script.count(&Act::Drop), starts);
    for key in ids(["good", "slow", "far"]) {
        let registered = node.script.count(&Act::Register(key.clone()));
        assert_eq!(registered, starts);
        assert_eq!(node.script.count(&Act::SignerDrop(key)), registered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_stops_and_starts_with_its_keys() {
    let node = node().await;
    let api = node.api().await;
    let before = api.public_key(&id("good")).await.unwrap();
    for starts in 1..=3 {
        works(&api).await;
        node.stop().await;
        all_gone(&node, starts);
        node.start().await.unwrap();
        assert_eq!(api.public_key(&id("good")).await.unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_ends_and_what_waits_is_told() {
    let node = node().await;
    let api = node.api().await;
    let busy = occupy(&node, &api, &id("slow")).await;
    let waiting = sent(api.sign(&id("good"), "waits")).await;
    works_elsewhere(&api).await;
    let stopping = tokio::spawn({
        let handle = node.handle.clone();
        async move { handle.stop_service::<Kms>().await }
    });
    // What waits is told at once; it doesn't wait for what runs.
    assert_refused!(waiting.await, KmsError::Stopped);
    assert!(!stopping.is_finished(), "a signature is still being made");
    node.script.all_right();
    within(stopping).await.unwrap().unwrap();
    all_gone(&node, 1);
    for request in busy {
        request.await.unwrap();
    }
    assert_eq!(node.script.count(&Act::Sign(id("good"))), 0);
}

/// The loop has taken in everything that was sent before.
async fn works_elsewhere(api: &kms_service::KmsApi) {
    api.public_key(&id("good")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_never_ends_holds_no_stop() {
    let node = node().await;
    let api = node.api().await;
    let busy = occupy(&node, &api, &id("slow")).await;
    // Nobody lets the signers go on: the stop ends all the same, within its own limit.
    node.stop().await;
    assert_eq!(node.script.count(&Act::Close), 1);
    node.script.all_right();
    for request in busy {
        // Too late to be stopped, in time to be answered.
        request.await.unwrap();
    }
    node.start().await.unwrap();
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_under_way_is_cut_short() {
    let node = node_of_one_thread().await;
    let api = node.api().await;
    node.script.when(Act::Sign(id("slow")), Does::Stuck);
    let slow = id("slow");
    let batch = sent(api.sign_many(&slow, None, vec![vec![1]; 100])).await;
    node.script.seen(Act::Sign(slow.clone()), 1).await;
    let waiting = sent(api.sign(&id("good"), "waits")).await;
    works_elsewhere(&api).await;
    let stopping = tokio::spawn({
        let handle = node.handle.clone();
        async move { handle.stop_service::<Kms>().await }
    });
    // Once this is told, the lane is closed.
    assert_refused!(waiting.await, KmsError::Stopped);
    let signed = node.script.count(&Act::Sign(slow.clone()));
    node.script.all_right();
    within(stopping).await.unwrap().unwrap();
    let outcomes = batch.await.unwrap();
    assert!(outcomes[0].is_ok());
    for outcome in &outcomes[1..] {
        assert!(matches!(outcome, Err(KmsError::Stopped)), "{outcome:?}");
    }
    assert_eq!(node.script.count(&Act::Sign(slow)), signed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_remote_backend_does_not_keep_the_service() {
    let node = node().await;
    let api = node.api().await;
    let far = id("far");
    node.script.when(Act::Sign(far.clone()), Does::Stuck);
    let one = sent(api.sign(&far, "m")).await;
    let many = sent(api.sign_many(&far, None, vec![vec![1], vec![2]])).await;
    node.script.seen(Act::Sign(far.clone()), 2).await;
    node.stop().await;
    all_gone(&node, 1);
    assert_refused!(one.await, KmsError::Stopped);
    assert_refused!(many.await, KmsError::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_health_check_does_not_keep_the_backend() {
    let node = node().await;
    let api = node.api().await;
    node.script.when(Act::Health, Does::Stuck);
    let health = sent(api.health()).await;
    // The metrics ask as well, when the service starts.
    node.script.seen(Act::Health, 2).await;
    node.stop().await;
    all_gone(&node, 1);
    assert_refused!(health.await, KmsError::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_change_is_given_up_and_what_waits_behind_it_is_told() {
    let node = node().await;
    let api = node.api().await;
    let good = id("good");
    node.script.when(Act::Change(good.clone()), Does::Stuck);
    node.script.when(Act::Register(id("new")), Does::Stuck);
    let changing = sent(api.rotate(&good)).await;
    let behind = sent(api.disable(&good)).await;
    let registering = sent(api.register(KeyRequest::new("new", KeyType::Ed25519))).await;
    node.script.seen(Act::Change(good.clone()), 1).await;
    node.script.seen(Act::Register(id("new")), 1).await;
    node.stop().await;
    all_gone(&node, 1);
    assert_refused!(changing.await, KmsError::AnswerLost);
    assert_refused!(behind.await, KmsError::Stopped);
    assert_refused!(registering.await, KmsError::AnswerLost);
    node.script.all_right();
    node.start().await.unwrap();
    assert_eq!(api.key_info(&good).await.unwrap().version, 1);
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_have_gone_do_not_keep_the_service() {
    let node = node().await;
    let api = node.api().await;
    let busy = occupy(&node, &api, &id("slow")).await;
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    give_up(api.sign(&id("good"), "m")).await;
    give_up(api.sign(&id("far"), "m")).await;
    works_elsewhere(&api).await;
    drop(busy);
    node.script.all_right();
    node.stop().await;
    all_gone(&node, 1);
    assert_eq!(node.script.count(&Act::Sign(id("good"))), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_say_good_bye_is_left() {
    for does in [Does::Panic, Does::Stuck] {
        let node = node().await;
        works(&node.api().await).await;
        node.script.when(Act::Close, does);
        node.stop().await;
        all_gone(&node, 1);
        node.script.all_right();
        node.start().await.unwrap();
        works(&node.api().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_in_the_relay_is_answered_after_the_next_start() {
    let node = node().await;
    let api = node.api().await;
    node.stop().await;
    let good = id("good");
    let signing = sent(api.sign(&good, "m")).await;
    let registering = sent(api.register(KeyRequest::new("new", KeyType::Ed25519))).await;
    give_up(api.rotate(&good)).await;
    node.start().await.unwrap();
    signing.await.unwrap();
    registering.await.unwrap().sign("m").await.unwrap();
    let health = api.health().await.unwrap();
    assert_eq!((health.keys, health.counters.abandoned), (4, 1));
    assert_eq!(node.script.count(&Act::Change(good)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_service_hangs_nobody() {
    let node = node().await;
    let api = node.api().await.with_deadline(Duration::from_millis(20));
    node.stop().await;
    assert_refused!(api.sign(&id("good"), "m").await, KmsError::DeadlineExceeded);
    assert_refused!(api.key_info(&id("good")).await, KmsError::DeadlineExceeded);
    assert_refused!(api.rotate(&id("good")).await, KmsError::AnswerLost);
    node.start().await.unwrap();
    let patient = node.api().await;
    works(&patient).await;
    assert_eq!(patient.key_info(&id("good")).await.unwrap().version, 1, "it came too late");
}
