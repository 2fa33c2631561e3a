//! Callers that give up half-way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::pin::pin;

use futures::poll;
use kms_backend::{HealthLevel, PageRequest};
use kms_service::KeyFilter;
use kms_tests::{Folder, id, kms_of, message, slots, start, start_kms, stop_kms, verify};
use node_example::attesters::Attesters;
use node_example::identity::Identity;
use node_example::proposer::Proposer;

const REQUESTS: usize = 500;

/// They have gone before the service comes to their requests: each is counted, none is signed.
#[tokio::test(flavor = "multi_thread")]
async fn before_their_turn() {
    let folder = Folder::new(1);
    let node = start(&folder).await;
    // So that nobody else's requests are counted.
    node.handle().stop_service::<Proposer>().await.unwrap();
    node.handle().stop_service::<Attesters>().await.unwrap();
    let kms = kms_of::<Identity>(&node).await;
    let keys = kms.list(KeyFilter::default(), PageRequest::first(100)).await.unwrap();
    stop_kms(node.handle()).await;
    for number in 0..REQUESTS {
        let id = id("attester/0");
        let mut request = pin!(kms.sign(&id, message(number)).into_future());
        assert!(poll!(&mut request).is_pending());
        // A task may not send without end; it would only seem to have been sent.
        tokio::task::yield_now().await;
    }
    start_kms(node.handle()).await;

    let health = kms.health().await.unwrap();
    assert_eq!(health.counters.abandoned, REQUESTS as u64);
    assert_eq!((health.counters.expired, health.counters.panics), (0, 0));
    assert_eq!((health.level, health.keys), (HealthLevel::Ok, 7));
    assert_eq!(kms.list(KeyFilter::default(), PageRequest::first(100)).await.unwrap(), keys);
    node.stop().await;
}

/// They go whenever it happens to be. Every kind of request is among theirs.
#[tokio::test(flavor = "multi_thread")]
async fn at_any_time() {
    let folder = Folder::new(2);
    let mut node = start(&folder).await;
    let kms = kms_of::<Identity>(&node).await;
    let before = kms.list(KeyFilter::default(), PageRequest::first(100)).await.unwrap();
    for number in 0..REQUESTS {
        let attesters = [id("attester/0"), id("attester/1")];
        let identity = id("node/identity");
        let mut sign = pin!(kms.sign(&attesters[0], message(number)).into_future());
        let mut many = pin!(kms.sign_many(&identity, None, vec![message(number); 3]));
        let mut aggregate = pin!(kms.sign_aggregate(&attesters, message(number)));
        let mut agree = pin!(kms.execute(&identity, "x25519", [9; 32]));
        let mut list = pin!(kms.list(KeyFilter::default(), PageRequest::first(1)));
        let mut health = pin!(kms.health());
        // Whether one of them is answered already makes no difference.
        let _ = (poll!(&mut sign), poll!(&mut many), poll!(&mut aggregate));
        let _ = (poll!(&mut agree), poll!(&mut list), poll!(&mut health));
        tokio::task::yield_now().await;
    }
    slots(&mut node, 5).await;
    let message = b"still there";
    let signature = kms.sign(&id("attester/0"), message).await.unwrap();
    verify(&kms.public_key(&id("attester/0")).await.unwrap(), message, &signature);
    let health = kms.health().await.unwrap();
    assert_eq!((health.level, health.keys, health.counters.panics), (HealthLevel::Ok, 7, 0));
    assert_eq!(kms.list(KeyFilter::default(), PageRequest::first(100)).await.unwrap(), before);
    node.stop().await;
}
