//! What is logged of services that break.

#![cfg(feature = "derive")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    io,
    sync::{Mutex, OnceLock},
};

use overwatch::{
    overwatch::commands::{OverwatchCommand, ServiceLifecycleCommand, ServiceSingleCommand},
    services::status::ServiceStatus,
    utils::finished_signal,
};
use support::{Init, Message, Node, RuntimeServiceId, Second};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines with `text` that the tests of this file have logged so far. The log is the process's,
/// so each test looks for texts of its own.
fn lines_with(text: &str) -> Vec<String> {
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        tracing_subscriber::fmt().with_ansi(false).with_writer(|| Writer).init();
    });
}

/// Sends one message to the first service, and waits until it has stopped.
async fn ends_with(message: Message) {
    listen();
    let node = Node::new();
    let (relay, mut status) = node.start_first().await;
    relay.send(message).await.unwrap();
    status.wait_for(ServiceStatus::Stopped, None).await.unwrap();
}

#[tokio::test]
async fn an_error_is_logged_with_all_that_caused_it() {
    ends_with(Message::Fail).await;
    let lines = lines_with("the work failed");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("ERROR") && lines[0].contains("service=First"));
    assert!(lines[0].contains("the work failed: worker 1 refused"));
}

#[tokio::test]
async fn a_panic_is_logged_with_the_name_of_the_service() {
    ends_with(Message::Panic).await;
    let lines = lines_with("panicked in run");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("ERROR") && lines[0].contains("service=First"));
}

#[tokio::test]
async fn a_failed_start_that_nobody_learns_of_is_logged_with_its_cause() {
    listen();
    let node = Node::new();
    node.first.set_init(Init::Panics);
    let (sender, done) = finished_signal::channel();
    let command = ServiceSingleCommand { service_id: RuntimeServiceId::First, sender };
    let start = ServiceLifecycleCommand::StartService(command);
    let command = OverwatchCommand::ServiceLifecycle(start);
    node.handle.send(command).await.unwrap();
    done.await.unwrap_err();
    let lines = lines_with("command failed");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("its init panicked: worker 1 panicked"));
}

#[tokio::test]
async fn a_failed_start_that_the_caller_learns_of_is_not_logged_twice() {
    listen();
    let node = Node::new();
    node.second.set_init(Init::Panics);
    node.handle.start_service::<Second>().await.unwrap_err();
    assert!(!lines_with("not started").iter().any(|line| line.contains("service=Second")));
}
