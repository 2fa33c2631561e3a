//! States: loaded, saved, and handed over before a service counts as stopped.

#![cfg(feature = "derive")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use overwatch::services::status::ServiceStatus;
use support::{First, Load, Message, Node, Note, save};
use tokio::sync::mpsc;

/// What the operator of the first worker kept, in order.
fn kept(node: &Node) -> Vec<u64> {
    let kept = |note| match note {
        Note::Kept(state) => Some(state),
        _ => None,
    };
    node.first.notes().into_iter().filter_map(kept).collect()
}

#[tokio::test]
async fn the_initial_state_is_handed_over_too() {
    let node = Node::new();
    node.start_first().await;
    node.handle.stop_service::<First>().await.unwrap();
    assert_eq!(kept(&node), [0]);
}

#[tokio::test]
async fn a_saved_state_is_the_initial_one() {
    let node = Node::new();
    node.first.set_load(Load::Saved(5));
    node.start_first().await;
    node.handle.stop_service::<First>().await.unwrap();
    assert_eq!(kept(&node), [5]);
    assert!(node.first.notes().contains(&Note::Init(5)));
}

#[tokio::test]
async fn the_latest_state_wins_and_none_is_ignored() {
    let node = Node::new();
    let mut keeping = node.first.watch_keeps(0);
    let (relay, _) = node.start_first().await;
    assert_eq!(keeping.recv().await, Some(0));
    // The operator is busy with the first.
    for state in [1, 2, 3] {
        save(&relay, Some(state)).await;
    }
    node.first.keeps.add_permits(2);
    assert_eq!(keeping.recv().await, Some(3));
    save(&relay, None).await;
    save(&relay, None).await;
    node.first.keeps.add_permits(1);
    node.handle.stop_service::<First>().await.unwrap();
    assert_eq!(kept(&node), [0, 3]);
}

#[tokio::test]
async fn the_last_state_is_kept_before_a_stop_is_reported() {
    let node = Node::new();
    let mut keeping = node.first.watch_keeps(0);
    let (relay, mut status) = node.start_first().await;
    assert_eq!(keeping.recv().await, Some(0));
    save(&relay, Some(4)).await;
    let stop = tokio::spawn({
        let handle = node.handle.clone();
        async move { handle.stop_service::<First>().await }
    });
    node.first.keeps.add_permits(1);
    assert_eq!(keeping.recv().await, Some(4));
    assert_eq!(status.current(), ServiceStatus::Starting);
    assert!(!stop.is_finished());
    node.first.keeps.add_permits(1);
    status.wait_for(ServiceStatus::Stopped, None).await.unwrap();
    stop.await.unwrap().unwrap();
    assert_eq!(kept(&node), [0, 4]);
}

#[tokio::test]
async fn the_last_state_is_kept_when_run_ends_by_itself() {
    for end in [Message::Return, Message::Fail, Message::Panic] {
        let node = Node::new();
        let mut keeping = node.first.watch_keeps(0);
        let (relay, mut status) = node.start_first().await;
        save(&relay, Some(6)).await;
        relay.send(end).await.unwrap();
        node.first.keeps.add_permits(2);
        status.wait_for(ServiceStatus::Stopped, None).await.unwrap();
        assert_eq!(kept(&node).last(), Some(&6));
        assert!(keeping.recv().await.is_some());
    }
}

#[tokio::test]
async fn an_order_that_comes_while_the_last_state_is_kept_is_carried_out() {
    let node = Node::new();
    let mut keeping = node.first.watch_keeps(0);
    let (relay, mut status) = node.start_first().await;
    assert_eq!(keeping.recv().await, Some(0));
    relay.send(Message::Return).await.unwrap();
    let start = tokio::spawn({
        let handle = node.handle.clone();
        async move { handle.start_service::<First>().await }
    });
    while !node.first.notes().contains(&Note::Dropped) {
        tokio::task::yield_now().await;
    }
    node.first.keeps.add_permits(2);
    start.await.unwrap().unwrap();
    // Whether the start came before or after the end, the node is in order.
    node.handle.stop_service::<First>().await.unwrap();
    status.wait_for(ServiceStatus::Stopped, None).await.unwrap();
}

#[tokio::test]
async fn the_operator_is_made_once() {
    let node = Node::new();
    for _ in 0..3 {
        node.start_first().await;
        node.handle.stop_service::<First>().await.unwrap();
    }
    let made = |note: &&Note| **note == Note::Operator;
    assert_eq!(node.first.notes().iter().filter(made).count(), 1);
    assert_eq!(kept(&node), [0, 0, 0]);
}

#[tokio::test]
async fn a_panic_of_the_operator_does_not_end_it() {
    let node = Node::new();
    let mut keeping: mpsc::UnboundedReceiver<u64> = node.first.watch_keeps(9);
    let (relay, _) = node.start_first().await;
    assert_eq!(keeping.recv().await, Some(0));
    save(&relay, Some(666)).await;
    assert_eq!(keeping.recv().await, Some(666));
    save(&relay, Some(2)).await;
    node.handle.stop_service::<First>().await.unwrap();
    assert_eq!(kept(&node), [0, 2]);
}
