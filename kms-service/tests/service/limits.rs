//! What is not accepted, and answers that are lost – and that the next good request works.

use std::time::Duration;

use kms_backend::{KeyState, PageRequest};
use kms_keys::KeyType;
use kms_service::{KeyFilter, KeyRequest, KmsError};
use serde_json::{Value, json};

use crate::support::*;

fn keys() -> Value {
    json!([
        { "id": "good", "type": "ed25519" },
        { "id": "slow", "type": "ed25519" },
        { "id": "far", "type": "ed25519" },
        { "id": "bls", "type": "bls12-381" }
    ])
}

async fn node(limits: Value) -> TestNode {
    let script = Script::default();
    script.remote(&id("far"));
    TestNode::started_with(keys(), limits, &script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_service_answers_what_it_had_with_stopped() {
    let node = node(json!({})).await;
    let api = node.api().await;
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    let stuck = sent(api.sign(&id("far"), "m")).await;
    node.script.seen(Act::Sign(id("far")), 1).await;
    node.stop().await;
    let stopped = stuck.await.unwrap_err();
    assert!(matches!(stopped, KmsError::Stopped), "{stopped:?}");
    assert!(stopped.is_retryable());
    node.start().await.unwrap();
    works(&api).await;
}

/// Requests of one caller that fill a lane don't keep another's out.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_leaves_room_for_others() {
    let node = node(json!({ "queue": 8, "threads": { "cheap": 1 } })).await;
    let (flood, single) = (node.api().await, node.proposer().await);
    node.script.when(Act::Sign(id("slow")), Does::Stuck);
    let running = sent(flood.sign(&id("slow"), "runs")).await;
    node.script.seen(Act::Sign(id("slow")), 1).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(sent(flood.sign(&id("good"), "waits")).await);
    }
    assert_refused!(flood.sign(&id("good"), "too many").await, KmsError::Overloaded { .. });
    let single = sent(single.sign(&id("good"), "alone")).await;
    // Room was made for it by the newest of the flood.
    let newest = waiting.pop().unwrap();
    assert_refused!(newest.await, KmsError::Overloaded { .. });
    node.script.all_right();
    single.await.unwrap();
    running.await.unwrap();
    for request in waiting {
        request.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_says_when_to_try_again() {
    let node = node(json!({ "queue": 1 })).await;
    let api = node.api().await;
    let busy = occupy(&node, &api, &id("slow")).await;
    let waiting = sent(api.sign(&id("slow"), "waits")).await;
    let refused = api.sign(&id("good"), "one too many").await.unwrap_err();
    assert!(refused.is_retryable());
    let KmsError::Overloaded { retry_after } = refused else {
        panic!("{refused:?}");
    };
    assert!(retry_after > Duration::ZERO);

    node.script.all_right();
    for request in busy {
        request.await.unwrap();
    }
    waiting.await.unwrap();
    works(&api).await;
    assert_eq!(api.health().await.unwrap().counters.overloaded, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_backend_has_a_bound_of_its_own() {
    let node = node(json!({})).await;
    let api = node.api().await;
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    let mut busy = Vec::new();
    // The bound is the service's own; that there is one is what counts.
    let refused = loop {
        assert!(busy.len() < 10_000, "no bound");
        let mut request = Box::pin(async { api.sign(&id("far"), "m").await });
        let done = node.script.count(&Act::Sign(id("far"))) + 1;
        tokio::select! {
            answer = &mut request => break answer.unwrap_err(),
            () = node.script.seen(Act::Sign(id("far")), done) => busy.push(request),
        }
    };
    assert!(matches!(refused, KmsError::Overloaded { .. }), "{refused:?}");
    works(&api).await;
    node.script.all_right();
    for request in busy {
        request.await.unwrap();
    }
    api.sign(&id("far"), "m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lifecycle_operations_wait_in_a_bounded_queue() {
    let node = node(json!({ "queue": 2 })).await;
    let api = node.api().await;
    node.script.when(Act::Change(id("good")), Does::Stuck);
    let good = id("good");
    let running = sent(api.rotate(&good)).await;
    let waiting = sent(api.rotate(&good)).await;
    for refused in [api.rotate(&good).await, api.rotate(&id("slow")).await] {
        assert_refused!(refused, KmsError::Overloaded { .. });
    }
    node.script.all_right();
    assert_eq!(running.await.unwrap().version, 2);
    assert_eq!(waiting.await.unwrap().version, 3);
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_lifecycle_operations_leaves_room_for_others() {
    let node = node(json!({ "queue": 8 })).await;
    let (api, other, good) = (node.api().await, node.proposer().await, id("good"));
    node.script.when(Act::Change(good.clone()), Does::Stuck);
    let mut flood = Vec::new();
    for _ in 0..7 {
        flood.push(sent(api.rotate(&good)).await);
    }
    assert_refused!(api.rotate(&good).await, KmsError::Overloaded { .. });
    other.disable(&id("slow")).await.unwrap();
    node.script.all_right();
    for (version, request) in (2..).zip(flood) {
        assert_eq!(request.await.unwrap().version, version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_that_wait_are_bounded() {
    let limits = json!({ "queue": 8, "message_bytes": "256KiB", "threads": { "cheap": 1 } });
    let node = node(limits).await;
    let api = node.api().await;
    let slow = Act::Sign(id("slow"));
    node.script.when(slow.clone(), Does::Stuck);
    let busy = sent(api.sign(&id("slow"), "m")).await;
    node.script.seen(slow, 1).await;
    let large = vec![7; 256 * 1024];
    let (good, mut waiting) = (id("good"), Vec::new());
    // Each takes four of the eight places.
    for _ in 0..2 {
        waiting.push(sent(api.sign(&good, large.clone())).await);
    }
    assert_refused!(api.sign(&good, large).await, KmsError::Overloaded { .. });
    assert_refused!(api.sign(&good, "m").await, KmsError::Overloaded { .. });
    node.script.all_right();
    busy.await.unwrap();
    for request in waiting {
        request.await.unwrap();
    }
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_one_request_are_bounded() {
    let node = node(json!({ "message_bytes": 1024 })).await;
    let api = node.api().await;
    for key in ["good", "far"] {
        let most = vec![vec![7; 1024]; 64];
        let outcomes = api.sign_many(&id(key), None, most.clone()).await.unwrap();
        assert!(outcomes.len() == 64 && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let over = [most, vec![vec![7]]].concat();
        let KmsError::TooLarge { what, found, limit } =
            api.sign_many(&id(key), None, over).await.unwrap_err()
        else {
            panic!("it is not too large");
        };
        assert_eq!((what, found, limit), ("all messages together", 65_537, 65_536));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_deadline_holds_whatever_the_service_does() {
    let node = node(json!({})).await;
    let api = node.api().await;
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    let short = Duration::from_millis(20);
    let late = api.sign(&id("far"), "m").deadline(short).await;
    assert_refused!(late, KmsError::DeadlineExceeded);
    let hurried = api.clone().with_deadline(short);
    // The service cuts the messages off at the same moment, and is heard if it isn't too busy.
    let late = match hurried.sign_many(&id("far"), None, vec![vec![1]]).await {
        Ok(mut outcomes) => outcomes.remove(0).map(drop),
        Err(error) => Err(error),
    };
    assert_refused!(late, KmsError::DeadlineExceeded);
    works(&api).await;
}

/// What `request` gives on a clock that stands still: however busy the machine is, its client doesn't give up.
fn patiently<T>(request: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // Without anything under way on a thread, time would leap.
        let (ended, until) = std::sync::mpsc::channel::<()>();
        let under_way = tokio::task::spawn_blocking(move || until.recv());
        let outcome = request.await;
        drop(ended);
        under_way.await.unwrap().unwrap_err();
        outcome
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_by_a_clients_deadline_is_given_out() {
    // With more threads it would be signed in parts.
    let node = node(json!({ "threads": { "cheap": 1 } })).await;
    let hurried = node.api().await.with_deadline(Duration::from_secs(2));
    let slow = Act::Sign(id("slow"));
    node.script.when(slow.clone(), Does::Stuck);
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    let batch = tokio::task::spawn_blocking({
        let hurried = hurried.clone();
        move || patiently(hurried.sign_many(&id("slow"), None, vec![vec![1]; 3]))
    });
    node.script.seen(slow.clone(), 1).await;
    // It has as long as the batch had, from now on.
    assert_refused!(hurried.sign(&id("far"), "m").await, KmsError::DeadlineExceeded);
    node.script.all_right();
    let mut outcomes = within(batch).await.unwrap().unwrap().into_iter();
    outcomes.next().unwrap().unwrap();
    for late in outcomes {
        assert_refused!(late, KmsError::DeadlineExceeded);
    }
    assert_eq!(node.script.count(&slow), 1, "the others were not begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_limit_cuts_longer_deadlines() {
    let node = node(json!({ "deadline": "2s" })).await;
    let api = node.api().await;
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    let late = api.sign(&id("far"), "m").deadline(Duration::from_secs(600)).await.unwrap_err();
    assert!(matches!(late, KmsError::DeadlineExceeded), "{late:?}");
    assert!(late.is_retryable());
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shortest_and_the_longest_deadline_are_deadlines_too() {
    let node = node(json!({})).await;
    let api = node.api().await;
    let none = api.clone().with_deadline(Duration::ZERO);
    for _ in 0..100 {
        match none.sign(&id("good"), "m").await {
            Ok(_) | Err(KmsError::DeadlineExceeded) => {}
            other => panic!("{other:?}"),
        }
    }
    works(&api.clone().with_deadline(Duration::MAX)).await;
    api.sign(&id("good"), "m").deadline(Duration::MAX).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_measured() {
    let node = node(json!({ "queue": 4, "message_bytes": 64 })).await;
    let api = node.api().await;
    let (good, bls) = (id("good"), id("bls"));

    api.sign(&good, vec![0; 64]).await.unwrap();
    let refused = api.sign(&good, vec![0; 65]).await;
    assert_refused!(refused, KmsError::TooLarge { found: 65, limit: 64, .. });
    works(&api).await;

    assert_eq!(api.sign_many(&good, None, vec![vec![]; 4]).await.unwrap().len(), 4);
    let refused = api.sign_many(&good, None, vec![vec![]; 5]).await;
    assert_refused!(refused, KmsError::TooLarge { found: 5, limit: 4, .. });
    let one_of_two = api.sign_many(&good, None, vec![vec![0; 65], vec![]]).await.unwrap();
    assert!(matches!(one_of_two[0], Err(KmsError::TooLarge { .. })), "{one_of_two:?}");
    assert!(one_of_two[1].is_ok());
    works(&api).await;

    api.execute(&good, "x25519", vec![9; 32]).await.unwrap();
    let refused = api.execute(&good, "x25519", vec![9; 65]).await;
    assert_refused!(refused, KmsError::TooLarge { found: 65, limit: 64, .. });
    works(&api).await;

    let five = vec![bls.clone(); 5];
    let refused = api.sign_aggregate(&five, "m").await;
    assert_refused!(refused, KmsError::TooLarge { found: 5, limit: 4, .. });
    let refused = api.sign_aggregate(&[bls], vec![0; 65]).await.unwrap_err();
    assert!(!refused.is_retryable());
    assert_eq!(refused.to_string(), "the message is too large: 65, expected at most 64");
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_not_answered_in_time_has_an_unknown_outcome() {
    let node = node(json!({})).await;
    let api = node.api().await;
    node.script.when(Act::Register(id("new")), Does::Stuck);
    let hurried = api.clone().with_deadline(Duration::from_millis(20));
    let lost = hurried.register(KeyRequest::new("new", KeyType::Ed25519)).await.unwrap_err();
    assert!(matches!(lost, KmsError::AnswerLost), "{lost:?}");
    assert!(!lost.is_retryable());
    works(&api).await;
    let all = api.list(KeyFilter::default(), PageRequest::first(9)).await.unwrap();
    assert_eq!(all.keys.len(), 4);

    // The backend is at it again, so that the key is there in the end.
    node.script.all_right();
    let key = api.register(KeyRequest::new("new", KeyType::Ed25519)).await.unwrap();
    key.sign("m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_gives_a_stuck_change_up_and_goes_on_with_the_key() {
    let node = node(json!({ "deadline": "2s" })).await;
    let api = node.api().await;
    node.script.when(Act::Change(id("good")), Does::Stuck);
    assert_refused!(api.rotate(&id("good")).await, KmsError::AnswerLost);
    node.script.all_right();
    api.rotate(&id("good")).await.unwrap();
    works(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_comes_too_late_for_its_caller_is_taken_in_all_the_same() {
    let node = node(json!({})).await;
    let api = node.api().await;
    node.script.when(Act::Change(id("good")), Does::Stuck);
    let hurried = api.clone().with_deadline(Duration::from_secs(2));
    assert_refused!(hurried.disable(&id("good")).await, KmsError::AnswerLost);
    assert_eq!(node.script.count(&Act::Change(id("good"))), 1);
    node.script.all_right();
    // Waits for its turn behind the change.
    let key = api.register(KeyRequest::new("good", KeyType::Ed25519)).await.unwrap();
    assert_eq!(key.info().state, KeyState::Disabled);
    assert_refused!(key.sign("m").await, KmsError::Disabled { .. });
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_for_a_remote_key_are_cut_off_one_by_one() {
    let node = node(json!({ "deadline": "200ms" })).await;
    let api = node.api().await;
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    let outcomes = api.sign_many(&id("far"), None, vec![vec![1]; 3]).await.unwrap();
    assert_eq!(outcomes.len(), 3);
    for outcome in outcomes {
        assert_refused!(outcome, KmsError::DeadlineExceeded);
    }
    assert_eq!(node.script.count(&Act::Sign(id("far"))), 1, "the others were not begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_health_has_a_bound_and_a_deadline() {
    let node = node(json!({ "deadline": "500ms" })).await;
    let api = node.api().await;
    node.script.when(Act::Health, Does::Stuck);
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.health().await })
        })
        .collect();
    let mut overloaded = 0;
    for asked in asking {
        match within(asked).await.unwrap() {
            Err(KmsError::Overloaded { .. }) => overloaded += 1,
            other => assert_refused!(other, KmsError::DeadlineExceeded),
        }
    }
    assert!(overloaded > 0, "all were taken");
    node.script.all_right();
    api.health().await.unwrap();
}
