//! Starting, stopping and starting again.

#![cfg(feature = "derive")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use overwatch::{
    overwatch::Services,
    services::{lifecycle::LifecycleMessage, relay::OutboundRelay, status::ServiceStatus},
    utils::finished_signal,
};
use support::{App, First, Init, Message, Node, Note, RuntimeServiceId, echo, hang};
use tokio::sync::oneshot;

const ON: ServiceStatus = ServiceStatus::Starting;
const OFF: ServiceStatus = ServiceStatus::Stopped;

#[tokio::test]
async fn a_start_is_reported_when_run_has_been_polled() {
    let node = Node::new();
    assert_eq!(node.first.notes(), [Note::Operator]);
    node.start_first().await;
    let notes = node.first.notes();
    assert!(notes.contains(&Note::Init(0)) && notes.contains(&Note::Polled));
    assert_eq!(node.statuses().await, [ON, OFF]);
}

#[tokio::test]
async fn only_the_service_says_that_it_is_ready() {
    let node = Node::new();
    node.first.set_init(Init::SaysReady);
    let (relay, mut status) = node.start_first().await;
    assert_eq!(status.current(), ServiceStatus::Starting);
    relay.send(Message::Ready).await.unwrap();
    assert_eq!(status.wait_for(ServiceStatus::Ready, None).await, Ok(ServiceStatus::Ready));
}

#[tokio::test]
async fn a_stop_is_reported_when_the_service_is_dropped() {
    let node = Node::new();
    let (relay, status) = node.start_first().await;
    hang(&relay).await;
    node.handle.stop_service::<First>().await.unwrap();
    assert!(node.first.notes().contains(&Note::Dropped));
    assert_eq!(status.current(), ServiceStatus::Stopped);
}

#[tokio::test]
async fn starting_twice_and_stopping_twice_do_nothing() {
    let node = Node::new();
    let inits = || {
        let notes = node.first.notes();
        notes.iter().filter(|note| matches!(note, Note::Init(_))).count()
    };
    node.handle.stop_service::<First>().await.unwrap();
    node.start_first().await;
    node.start_first().await;
    assert_eq!(inits(), 1);
    node.handle.stop_service::<First>().await.unwrap();
    node.handle.stop_service::<First>().await.unwrap();
    node.start_first().await;
    assert_eq!(inits(), 2);
}

#[tokio::test]
async fn messages_to_a_stopped_service_wait_for_its_start() {
    let node = Node::new();
    let early = echo(&node.relay().await, 1).await;
    let (relay, _) = node.start_first().await;
    assert_eq!(early.await, Ok(1));

    node.handle.stop_service::<First>().await.unwrap();
    let late = echo(&relay, 2).await;
    node.start_first().await;
    assert_eq!(late.await, Ok(2));
}

#[tokio::test]
async fn messages_behind_the_one_that_was_cut_short_are_met_again() {
    let node = Node::new();
    let (relay, _) = node.start_first().await;
    hang(&relay).await;
    let echo = echo(&relay, 3).await;
    node.handle.stop_service::<First>().await.unwrap();
    node.start_first().await;
    assert_eq!(echo.await, Ok(3));
}

#[tokio::test]
async fn a_service_that_returns_is_stopped_and_starts_again() {
    let node = Node::new();
    let (relay, mut status) = node.start_first().await;
    relay.send(Message::Return).await.unwrap();
    status.wait_for(ServiceStatus::Stopped, None).await.unwrap();
    assert!(node.first.notes().contains(&Note::Dropped));
    node.handle.stop_service::<First>().await.unwrap();
    let echo = echo(&relay, 4).await;
    node.start_first().await;
    assert_eq!(echo.await, Ok(4));
}

#[tokio::test]
async fn sequences_and_all() {
    let node = Node::new();
    let handle = &node.handle;
    let ids = [RuntimeServiceId::Second, RuntimeServiceId::First];
    handle.start_service_sequence(ids).await.unwrap();
    assert_eq!(node.statuses().await, [ON, ON]);
    handle.stop_service_sequence([RuntimeServiceId::Second]).await.unwrap();
    assert_eq!(node.statuses().await, [ON, OFF]);
    handle.start_all_services().await.unwrap();
    assert_eq!(node.statuses().await, [ON, ON]);
    handle.stop_all_services().await.unwrap();
    assert_eq!(node.statuses().await, [OFF, OFF]);
    handle.start_service_sequence([]).await.unwrap();
    assert_eq!(node.statuses().await, [OFF, OFF]);
}

#[tokio::test]
async fn services_can_be_driven_without_the_loop() {
    let node = Node::new();
    let mut app = App::new(node.settings(), node.handle.clone()).unwrap();
    let first = RuntimeServiceId::First;
    assert_eq!(app.ids(), [first, RuntimeServiceId::Second]);
    let status = app.request_status_watcher(&first);
    let notifier = app.get_service_lifecycle_notifier(&first).clone();

    let (sender, started) = finished_signal::channel();
    notifier.send(LifecycleMessage::Start(sender)).await.unwrap();
    started.await.unwrap();
    assert_eq!(status.current(), ON);
    let relay = app.request_relay(&first).downcast::<OutboundRelay<Message>>();
    assert_eq!(echo(&relay.unwrap(), 6).await.await, Ok(6));
    let (sender, stopped) = finished_signal::channel();
    notifier.send(LifecycleMessage::Stop(sender)).await.unwrap();
    stopped.await.unwrap();
    assert_eq!(status.current(), OFF);

    node.first.set_init(Init::Fails);
    let (sender, started) = finished_signal::channel();
    notifier.send(LifecycleMessage::Start(sender)).await.unwrap();
    assert!(started.await.is_err());
    assert!(app.start_all().await.is_err());
    node.first.set_init(Init::Fine);
    app.start_sequence(&[first]).await.unwrap();
    assert_eq!(status.current(), ON);
    // What still runs is stopped with the rest.
    app.teardown().await.unwrap();
    assert_eq!(status.current(), OFF);
    let (sender, _) = finished_signal::channel();
    let error = notifier.send(LifecycleMessage::Start(sender)).await.unwrap_err();
    assert_eq!(error.to_string(), "the service has ended with its node");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_left_behind_is_waited_for_a_while() {
    let node = Node::new();
    let (relay, mut status) = node.start_first().await;
    let (let_go, until) = oneshot::channel();
    relay.send(Message::LeaveRelayBehind(until)).await.unwrap();
    status.wait_for(ServiceStatus::Stopped, None).await.unwrap();

    let error = node.handle.start_service::<First>().await.unwrap_err();
    assert_eq!(error.to_string(), "service `First` could not start");
    assert_eq!(status.current(), ServiceStatus::Stopped);

    let start = tokio::spawn({
        let handle = node.handle.clone();
        async move { handle.start_service::<First>().await }
    });
    tokio::task::yield_now().await;
    let_go.send(()).unwrap();
    start.await.unwrap().unwrap();
    assert_eq!(echo(&relay, 5).await.await, Ok(5));
}
