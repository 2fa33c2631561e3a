//! The node as a whole: its runtime, its end, its settings and its commands.

#![cfg(feature = "derive")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use overwatch::{
    overwatch::{
        OVERWATCH_THREAD_NAME, OverwatchHandle,
        commands::{
            OverwatchCommand, OverwatchManagementCommand, ReplyChannel, ServiceAllCommand,
            ServiceLifecycleCommand, ServiceSequenceCommand, ServiceSingleCommand,
        },
    },
    services::{relay::RelayError, status::ServiceStatus},
    utils::{finished_signal, runtime::default_multithread_runtime},
};
use support::{App, First, Init, Message, Node, Note, RuntimeServiceId, Second, echo, hang};
use tokio::{runtime::Handle, sync::oneshot};

const ON: ServiceStatus = ServiceStatus::Starting;
const OFF: ServiceStatus = ServiceStatus::Stopped;

#[test]
fn a_node_without_a_runtime_makes_its_own() {
    let node = Node::run(None);
    let runtime = node.overwatch.runtime().handle().clone();
    let name = node.overwatch.spawn(async { thread::current().name().map(str::to_owned) });
    assert_eq!(runtime.block_on(name).unwrap().as_deref(), Some(OVERWATCH_THREAD_NAME));
    runtime.block_on(node.start_first());
    runtime.block_on(node.handle.shutdown()).unwrap();
    node.overwatch.blocking_wait_finished();
    assert!(node.first.notes().contains(&Note::Dropped));
}

#[test]
fn init_may_wait_for_io() {
    let node = Node::run(None);
    node.first.set_init(Init::BlocksOnIo);
    node.overwatch.runtime().handle().block_on(node.start_first());
    assert!(node.first.notes().contains(&Note::Polled));
}

#[test]
fn dropping_a_node_ends_its_own_runtime() {
    let node = Node::run(None);
    node.overwatch.runtime().handle().block_on(node.start_first());
    drop(node.overwatch);
    assert!(node.first.notes().contains(&Note::Dropped));
}

#[tokio::test]
async fn a_node_can_be_dropped_inside_another_runtime() {
    let node = Node::run(None);
    node.start_first().await;
    let mut status = node.status().await;
    drop(node.overwatch);
    // The supervisor goes, and with it the status.
    assert!(status.wait_for(ServiceStatus::Ready, None).await.is_err());
    assert!(node.handle.shutdown().await.is_err());
}

#[tokio::test]
async fn dropping_a_node_leaves_the_services_in_the_runtime_of_the_caller() {
    let node = Node::new();
    let (relay, _) = node.start_first().await;
    drop(node.overwatch);
    assert_eq!(echo(&relay, 1).await.await, Ok(1));
    node.handle.start_service::<Second>().await.unwrap();
    node.handle.shutdown().await.unwrap();
}

#[tokio::test]
async fn shutdown_stops_all_and_finishes_the_node() {
    let node = Node::new();
    node.handle.start_all_services().await.unwrap();
    let (relay, status) = (node.relay().await, node.status().await);
    hang(&relay).await;
    node.handle.shutdown().await.unwrap();
    assert_eq!(status.current(), OFF);
    for control in [&node.first, &node.second] {
        assert!(control.notes().contains(&Note::Dropped));
    }
    node.overwatch.wait_finished().await;

    let (relay_error, message) = relay.send(Message::Return).await.unwrap_err();
    assert!(matches!((relay_error, message), (RelayError::Send, Message::Return)));
    let handle = &node.handle;
    assert!(handle.relay::<First>().await.is_err());
    assert_eq!(handle.status_watcher::<First>().await.current(), OFF);
    let texts = [
        handle.start_service::<First>().await.unwrap_err().to_string(),
        handle.stop_all_services().await.unwrap_err().to_string(),
        handle.shutdown().await.unwrap_err().to_string(),
        handle.retrieve_service_ids().await.unwrap_err().to_string(),
    ];
    assert_eq!(
        texts,
        [
            "could not start the service",
            "could not stop all services",
            "could not shut the node down",
            "could not retrieve the ids of the services",
        ]
    );
}

#[tokio::test]
async fn a_service_may_shut_the_node_down() {
    let node = Node::new();
    let (relay, status) = node.start_first().await;
    relay.send(Message::Shutdown).await.unwrap();
    node.overwatch.wait_finished().await;
    assert_eq!(status.current(), OFF);
    assert!(node.first.notes().contains(&Note::Dropped));
}

#[tokio::test]
async fn new_settings_reach_a_service_that_runs_and_the_next_start() {
    let node = Node::new();
    let (relay, _) = node.start_first().await;
    let mut settings = node.settings();
    settings.first.text = "new";
    settings.first.begin_with = 2;
    node.handle.update_settings::<App>(settings).await;
    // A command is worked off after those before it.
    assert_eq!(node.statuses().await, [ON, OFF]);
    let (reply, text) = oneshot::channel();
    relay.send(Message::ReadSettings(reply)).await.unwrap();
    assert_eq!(text.await, Ok("new"));
    node.handle.stop_service::<First>().await.unwrap();
    node.start_first().await;
    assert!(node.first.notes().contains(&Note::Init(2)));
}

#[tokio::test]
async fn commands_made_by_hand() {
    let node = Node::new();
    let run = async |make: &dyn Fn(finished_signal::Sender) -> ServiceLifecycleCommand<_>| {
        let (sender, done) = finished_signal::channel();
        let command = OverwatchCommand::ServiceLifecycle(make(sender));
        node.handle.send(command).await.unwrap();
        done.await.unwrap();
        node.statuses().await
    };
    use ServiceLifecycleCommand as Command;
    let (first, second) = (RuntimeServiceId::First, RuntimeServiceId::Second);
    let single = |service_id| move |sender| ServiceSingleCommand { service_id, sender };
    let both = |sender| ServiceSequenceCommand { service_ids: vec![second, first], sender };
    let all = |sender| ServiceAllCommand { sender };
    assert_eq!(run(&|it| Command::StartService(single(first)(it))).await, [ON, OFF]);
    assert_eq!(run(&|it| Command::StartServiceSequence(both(it))).await, [ON, ON]);
    assert_eq!(run(&|it| Command::StopService(single(second)(it))).await, [ON, OFF]);
    assert_eq!(run(&|it| Command::StartAllServices(all(it))).await, [ON, ON]);
    assert_eq!(run(&|it| Command::StopServiceSequence(both(it))).await, [OFF, OFF]);
    assert_eq!(run(&|it| Command::StopAllServices(all(it))).await, [OFF, OFF]);

    let (reply, ids) = oneshot::channel();
    let command = OverwatchManagementCommand::RetrieveServiceIds(ReplyChannel::from(reply));
    node.handle.send(OverwatchCommand::OverwatchManagement(command)).await.unwrap();
    assert_eq!(ids.await.unwrap(), [first, second]);
    assert_eq!(node.handle.retrieve_service_ids().await.unwrap(), [first, second]);

    let (sender, done) = finished_signal::channel();
    let command = OverwatchManagementCommand::Shutdown(sender);
    node.handle.send(OverwatchCommand::OverwatchManagement(command)).await.unwrap();
    done.await.unwrap();
    node.overwatch.wait_finished().await;
    let (sender, _) = finished_signal::channel();
    let command = Command::StopAllServices(ServiceAllCommand { sender });
    assert!(node.handle.send(OverwatchCommand::ServiceLifecycle(command)).await.is_err());
}

#[tokio::test]
async fn a_handle_around_a_channel_of_ones_own() {
    let (sender, mut commands) = tokio::sync::mpsc::channel(1);
    let handle = OverwatchHandle::<RuntimeServiceId>::new(Handle::current(), sender);
    assert_eq!(handle.runtime().id(), Handle::current().id());
    let node = tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            match command {
                OverwatchCommand::ServiceLifecycle(ServiceLifecycleCommand::StartService(
                    ServiceSingleCommand { service_id, sender },
                )) => {
                    assert_eq!(service_id, RuntimeServiceId::Second);
                    sender.send(()).unwrap();
                }
                other => drop(other),
            }
        }
    });
    handle.start_service::<Second>().await.unwrap();
    let error = handle.stop_service::<Second>().await.unwrap_err();
    assert_eq!(error.to_string(), "could not stop the service");
    drop(handle);
    node.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_status_has_an_end() {
    let node = Node::new();
    let (_, mut status) = node.start_first().await;
    let began = tokio::time::Instant::now();
    let limit = Duration::from_secs(3);
    let result = status.wait_for(ServiceStatus::Ready, Some(limit)).await;
    assert_eq!(result, Err(ServiceStatus::Starting));
    assert_eq!(began.elapsed(), limit);
    assert_eq!(status.wait_for(ON, Some(Duration::ZERO)).await, Ok(ON));
    assert_eq!(*status.receiver_mut().borrow(), ON);
    assert_eq!(ON.to_string(), "ServiceStatus::Starting");
}

#[test]
fn a_relay_can_be_used_by_a_thread_and_as_a_sink() {
    use futures::SinkExt as _;
    let runtime = default_multithread_runtime();
    let node = Node::run(Some(runtime.handle().clone()));
    let (relay, _) = runtime.block_on(node.start_first());
    let (reply, first) = oneshot::channel();
    relay.blocking_send(Message::Echo(1, reply)).unwrap();
    assert_eq!(first.blocking_recv(), Ok(1));
    let (reply, second) = oneshot::channel();
    let mut sink = relay.into_sink();
    assert!(runtime.block_on(sink.send(Message::Echo(2, reply))).is_ok());
    assert_eq!(second.blocking_recv(), Ok(2));
}

#[test]
fn a_full_relay_makes_its_senders_wait() {
    let runtime = default_multithread_runtime();
    let node = Node::run(Some(runtime.handle().clone()));
    let relay = runtime.block_on(node.relay());
    for number in 0..16 {
        drop(runtime.block_on(echo(&relay, number)));
    }
    let (sent, is_sent) = mpsc::channel();
    let sender = thread::spawn(move || {
        let (reply, answer) = oneshot::channel();
        relay.blocking_send(Message::Echo(17, reply)).unwrap();
        sent.send(Instant::now()).unwrap();
        answer.blocking_recv()
    });
    assert!(is_sent.recv_timeout(Duration::from_millis(20)).is_err());
    runtime.block_on(node.start_first());
    assert_eq!(sender.join().unwrap(), Ok(17));
}
