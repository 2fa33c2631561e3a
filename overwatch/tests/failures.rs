//! Services that do not start, and services that break while they run.

#![cfg(feature = "derive")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::error::Error as _;

use overwatch::{
    overwatch::{
        Error,
        commands::{OverwatchCommand, ServiceLifecycleCommand, ServiceSingleCommand},
    },
    services::status::ServiceStatus,
    utils::finished_signal,
};
use support::{
    First, Init, Load, Message, Node, Note, Refused, RuntimeServiceId, Second, echo, hang,
};

const ON: ServiceStatus = ServiceStatus::Starting;
const OFF: ServiceStatus = ServiceStatus::Stopped;

/// The error and what caused it, outermost first.
fn chain(error: &Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts
}

/// The very error that `init` returned.
fn refusal(error: &Error) -> Option<&Refused> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

#[tokio::test]
async fn a_failing_init_is_told_to_who_starts_and_can_be_tried_again() {
    let node = Node::new();
    node.first.set_init(Init::Fails);
    for _ in 0..2 {
        let error = node.handle.start_service::<First>().await.unwrap_err();
        assert_eq!(
            chain(&error),
            ["service `First` could not start", "its init failed", "worker 1 refused"]
        );
        assert_eq!(refusal(&error), Some(&Refused(1)));
        assert_eq!(node.statuses().await, [OFF, OFF]);
    }
    let waiting = echo(&node.relay().await, 1).await;
    node.first.set_init(Init::Fine);
    node.start_first().await;
    assert_eq!(waiting.await, Ok(1));
}

#[tokio::test]
async fn a_panic_in_init_is_a_failed_start() {
    let node = Node::new();
    node.first.set_init(Init::Panics);
    let error = node.handle.start_service::<First>().await.unwrap_err();
    assert_eq!(
        chain(&error),
        ["service `First` could not start", "its init panicked: worker 1 panicked"]
    );
    assert_eq!(node.statuses().await, [OFF, OFF]);
    node.handle.start_service::<Second>().await.unwrap();
    let waiting = echo(&node.relay().await, 2).await;
    node.first.set_init(Init::Fine);
    node.start_first().await;
    assert_eq!(waiting.await, Ok(2));
}

#[tokio::test]
async fn a_state_that_cannot_be_loaded_fails_the_start() {
    let node = Node::new();
    node.first.set_load(Load::Fails);
    let error = node.handle.start_service::<First>().await.unwrap_err();
    assert_eq!(
        chain(&error),
        [
            "service `First` could not start",
            "its saved state could not be loaded: the file is torn"
        ]
    );
    node.first.set_load(Load::Panics);
    let error = node.handle.start_service::<First>().await.unwrap_err();
    assert!(chain(&error)[1].contains("the disk is on fire"));
    // There is no falling back: nothing has been initialised.
    assert_eq!(node.first.notes(), [Note::Operator]);
    assert_eq!(node.statuses().await, [OFF, OFF]);
    node.first.set_load(Load::Saved(8));
    node.start_first().await;
    assert!(node.first.notes().contains(&Note::Init(8)));
}

#[tokio::test]
async fn a_state_that_cannot_be_made_fails_the_start() {
    let node = Node::new();
    let mut settings = node.settings();
    settings.first.begin_with = 7;
    node.handle.update_settings::<support::App>(settings).await;
    let error = node.handle.start_service::<First>().await.unwrap_err();
    assert_eq!(chain(&error)[1..], ["its state could not be made from its settings: 7 is odd"]);
}

#[tokio::test]
async fn one_of_several_fails_and_the_others_run_on() {
    let node = Node::new();
    node.first.set_init(Init::Fails);
    let error = node.handle.start_all_services().await.unwrap_err();
    assert_eq!(chain(&error)[0], "service `First` could not start");
    assert_eq!(refusal(&error), Some(&Refused(1)));
    assert_eq!(node.statuses().await, [OFF, ON]);
    node.handle.stop_service::<First>().await.unwrap();
    node.handle.stop_service::<Second>().await.unwrap();
    node.handle.stop_all_services().await.unwrap();
    assert_eq!(node.statuses().await, [OFF, OFF]);
}

#[tokio::test]
async fn all_that_fail_are_named_with_their_causes() {
    let node = Node::new();
    node.first.set_init(Init::Fails);
    node.second.set_init(Init::Panics);
    let ids = [RuntimeServiceId::Second, RuntimeServiceId::First];
    let error = node.handle.start_service_sequence(ids).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 services failed: service `Second` could not start: its init panicked: worker 2 \
         panicked; service `First` could not start: its init failed: worker 1 refused"
    );
    node.second.set_init(Init::Fails);
    let error = node.handle.start_all_services().await.unwrap_err();
    assert_eq!(refusal(&error), Some(&Refused(1)));
}

#[tokio::test]
async fn a_command_made_by_hand_loses_its_signal_when_it_fails() {
    let node = Node::new();
    node.first.set_init(Init::Fails);
    let (sender, done) = finished_signal::channel();
    let command = ServiceSingleCommand { service_id: RuntimeServiceId::First, sender };
    node.handle
        .send(OverwatchCommand::ServiceLifecycle(ServiceLifecycleCommand::StartService(command)))
        .await
        .unwrap();
    // Its failure is not mistaken for that of the next command.
    node.handle.start_service::<Second>().await.unwrap();
    assert!(done.await.is_err());
}

#[tokio::test]
async fn a_panic_stops_the_service_and_drops_what_is_queued() {
    let node = Node::new();
    let relay = node.relay().await;
    relay.send(Message::Panic).await.unwrap();
    let queued = echo(&relay, 1).await;
    let (_, mut status) = node.start_first().await;
    // The reply channel closes, and by then the status says why.
    assert!(queued.await.is_err());
    assert_eq!(status.current(), ServiceStatus::Stopped);
    assert!(node.first.notes().contains(&Note::Dropped));

    let waiting = echo(&relay, 2).await;
    node.start_first().await;
    assert_eq!(waiting.await, Ok(2));
    relay.send(Message::Ready).await.unwrap();
    status.wait_for(ServiceStatus::Ready, None).await.unwrap();
}

#[tokio::test]
async fn an_error_stops_the_service_and_keeps_what_is_queued() {
    let node = Node::new();
    let relay = node.relay().await;
    relay.send(Message::Fail).await.unwrap();
    let queued = echo(&relay, 3).await;
    let (_, mut status) = node.start_first().await;
    status.wait_for(ServiceStatus::Stopped, None).await.unwrap();
    node.start_first().await;
    assert_eq!(queued.await, Ok(3));
}

#[tokio::test]
async fn a_panic_in_a_drop_is_survived() {
    let node = Node::new();
    node.first.panic_in_drop();
    let (relay, status) = node.start_first().await;
    hang(&relay).await;
    let queued = echo(&relay, 4).await;
    node.handle.stop_service::<First>().await.unwrap();
    assert_eq!(status.current(), ServiceStatus::Stopped);
    assert!(queued.await.is_err());
    node.start_first().await;
}
