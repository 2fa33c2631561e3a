//! A start that is refused leaves nothing of the node running.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kms_tests::{Folder, id, slots, start};
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tokio::runtime::Handle;

/// Threads are counted in the whole process, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The threads that stay for as long as the process lives, once a node has run: the pool in which
/// the BLS library verifies.
static BASELINE: OnceLock<usize> = OnceLock::new();

/// Runs a test alone, on a runtime of its own. When that ends, no thread of it may be left.
fn alone(test: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = *BASELINE.get_or_init(|| {
        on_a_runtime(async {
            let folder = Folder::new(9);
            let mut node = start(&folder).await;
            slots(&mut node, 1).await;
            node.stop().await;
        });
        // A thread that has been joined may still be listed for a moment.
        std::thread::sleep(Duration::from_millis(200));
        threads()
    });
    on_a_runtime(test);
    for _ in 0..3000 {
        if threads() <= before {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("of {} threads {before} were there before", threads());
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

/// The number of this process's threads that a runtime has started, or that were started by one of
/// those and have no name of their own.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may end meanwhile.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("tokio") || name.starts_with("Overwatch")).count()
}

/// Waits until no task of a node is left.
async fn nothing_left() {
    let left = || Handle::current().metrics().num_alive_tasks();
    for _ in 0..3000 {
        if left() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} tasks are left behind", left());
}

async fn refused(settings: NodeSettings) -> Refusal {
    match RunningNode::start(settings).await {
        Ok(_) => panic!("the node started"),
        Err(refusal) => refusal,
    }
}

/// What the counting is worth: a running node has tasks and threads.
#[test]
fn a_running_node_is_seen() {
    alone(async {
        let folder = Folder::new(1);
        let node = start(&folder).await;
        assert!(Handle::current().metrics().num_alive_tasks() >= 5);
        assert!(threads() > *BASELINE.get().unwrap());
        node.stop().await;
        nothing_left().await;
    });
}

#[test]
fn by_the_key_management_service() {
    alone(async {
        let folder = Folder::new(2);
        let settings = folder.settings();
        for file in ["node-peer", "attester-2"] {
            fs::remove_file(folder.path(file)).unwrap();
        }
        for _ in 0..3 {
            let refusal = refused(settings.clone()).await;
            assert_eq!(refusal.code, ExitCode::Unavailable);
            let keys: Vec<_> =
                refusal.failures.iter().map(|failure| failure.key.as_deref()).collect();
            assert_eq!(keys, [Some("node/peer"), Some("attester/2")]);
            nothing_left().await;
        }
    });
}

/// Which service fails, and what its refusal names.
#[test]
fn by_a_consumer() {
    alone(async {
        let folder = Folder::new(3);
        let none = id("nobody/declared");
        let (mut identity, mut peer) = (folder.settings(), folder.settings());
        identity.identity.key = none.clone();
        peer.identity.peer = none.clone();
        let (mut proposer, mut attesters) = (folder.settings(), folder.settings());
        proposer.proposer.key = none.clone();
        attesters.attesters.keys[2] = none.clone();
        for (settings, service) in [
            (identity, "identity"),
            (peer, "identity"),
            (proposer, "proposer"),
            (attesters, "attesters"),
        ] {
            let refusal = refused(settings).await;
            assert_eq!((refusal.code, refusal.failures.len()), (ExitCode::Unavailable, 1));
            let failure = &refusal.failures[0];
            assert_eq!(failure.key.as_deref(), Some("nobody/declared"));
            let expected = format!("service {service}: no source says where the secret");
            assert!(failure.cause.starts_with(&expected), "{}", failure.cause);
            nothing_left().await;
        }
        // And the same process can start a good one.
        let mut node = start(&folder).await;
        slots(&mut node, 3).await;
        node.stop().await;
        nothing_left().await;
    });
}

/// A current-thread runtime is no place for the service, and says so.
#[test]
fn on_a_current_thread_runtime() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let refusal = refused(Folder::new(5).settings()).await;
        assert_eq!(refusal.code, ExitCode::Bug);
        assert!(
            refusal.failures[0].cause.contains("needs a multi-thread tokio runtime"),
            "{refusal}"
        );
        nothing_left().await;
    });
}
