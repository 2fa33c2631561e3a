//! The key management service is stopped and started again while the others go on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kms_backend::ErrorChain;
use kms_service::KmsApi;
use kms_tests::{Folder, id, kms_of, message, slots, start, start_kms, stop_kms, verify};
use node_example::attesters::Attesters;
use node_example::identity::Identity;
use node_example::node::Kms;
use node_example::proposer::Proposer;

#[tokio::test(flavor = "multi_thread")]
async fn slots_go_on() {
    let folder = Folder::new(1);
    let mut node = start(&folder).await;
    slots(&mut node, 3).await;
    stop_kms(node.handle()).await;
    start_kms(node.handle()).await;
    slots(&mut node, 10).await;
    node.stop().await;
}

/// What is asked of a stopped service is answered by the next start.
#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_the_start() {
    let folder = Folder::new(2);
    let node = start(&folder).await;
    let kms = kms_of::<Identity>(&node).await;
    let key = kms.public_key(&id("node/identity")).await.unwrap();
    stop_kms(node.handle()).await;

    let waiting = tokio::spawn(async move { kms.sign(&id("node/identity"), "waited").await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    start_kms(node.handle()).await;
    verify(&key, b"waited", &waiting.await.unwrap().unwrap());
    node.stop().await;
}

/// Signs until it is told to stop; how many signatures there were. What the stop cuts off may be
/// tried again, and nothing else goes wrong.
async fn load(kms: KmsApi, key: &'static str, stop: Arc<AtomicBool>) -> usize {
    let public = kms.public_key(&id(key)).await.unwrap();
    let mut signed = 0;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match kms.sign(&id(key), message(number)).await {
            Ok(signature) => {
                verify(&public, &message(number), &signature);
                signed += 1;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                // A node that has gone answers at once, and a failed test must be able to end.
                tokio::task::yield_now().await;
            }
        }
    }
    signed
}

/// A block that could not be attested to is not lost: the next one builds on it.
#[tokio::test(flavor = "multi_thread")]
async fn many_restarts_under_load() {
    let folder = Folder::new(3);
    let mut node = start(&folder).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = [
        tokio::spawn(load(kms_of::<Identity>(&node).await, "node/identity", Arc::clone(&stop))),
        tokio::spawn(load(kms_of::<Proposer>(&node).await, "proposer/main", Arc::clone(&stop))),
        tokio::spawn(load(kms_of::<Attesters>(&node).await, "attester/0", Arc::clone(&stop))),
    ];
    let handle = node.handle().clone();
    let mut next = 1;
    for _ in 0..20 {
        let restart = async {
            stop_kms(&handle).await;
            start_kms(&handle).await;
        };
        let (reports, ()) = tokio::join!(slots(&mut node, 3), restart);
        assert_eq!(reports[0].slot, next, "no slot is left out");
        next += 3;
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert_ne!(task.await.unwrap(), 0, "every caller got signatures");
    }
    slots(&mut node, 3).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_has_gone() {
    let folder = Folder::new(4);
    let mut node = start(&folder).await;
    slots(&mut node, 2).await;
    stop_kms(node.handle()).await;
    let (file, aside) = (folder.path("node-peer"), folder.path("aside"));
    fs::rename(&file, &aside).unwrap();
    for _ in 0..2 {
        let error = node.handle().start_service::<Kms>().await.unwrap_err();
        let chain = ErrorChain(&error).to_string();
        assert!(chain.contains("key node/peer"), "{chain}");
        assert!(chain.contains("node-peer does not exist"), "{chain}");
        assert!(!chain.contains("node/identity"), "{chain}");
    }
    fs::rename(&aside, &file).unwrap();
    start_kms(node.handle()).await;
    slots(&mut node, 5).await;
    node.stop().await;
}
