//! How much the service adds to a signature, and how many it makes.
//!
//! For each key type and number of callers, three ways to sign take turns in short windows of one run,
//! so that whatever else the machine does hits them alike: the plain library call, a serial actor that
//! signs inline, and the service in a node. Run it with `cargo bench -p kms-service`; with `--test` it
//! makes one tiny pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that can't set its scene has nothing better to do than to panic"
)]
#![allow(
    unreachable_pub,
    reason = "nothing of a benchmark is reachable; `pub` says what is for other files"
)]

#[path = "signing/machine.rs"]
mod machine;
#[path = "signing/node.rs"]
mod node;
#[path = "signing/report.rs"]
mod report;
#[path = "signing/serial.rs"]
mod serial;
#[path = "signing/window.rs"]
mod window;

use std::sync::Arc;
use std::time::Duration;

use kms_keys::{KeyType, SecretKey};
use tokio::runtime::Runtime;

use crate::node::BenchNode;
use crate::report::Table;
use crate::serial::SerialActor;
use crate::window::Window;

const CALLERS: [usize; 3] = [1, 16, 64];

/// The three ways to sign.
const WAYS: [&str; 3] = ["plain", "serial", "service"];

fn main() {
    // `cargo test` runs benches too, with `--test` or without `--bench`.
    let tiny = !std::env::args().any(|argument| argument == "--bench");
    let (windows, length) =
        if tiny { (1, Duration::from_millis(5)) } else { (11, Duration::from_millis(400)) };
    println!("{}", machine::describe());
    println!("{windows} windows of {length:?} for each way, in turns; 32-byte messages");

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let node = runtime.block_on(BenchNode::start());
    let mut table = Table::default();
    for key_type in KeyType::ALL {
        let key = Arc::new(SecretKey::from_bytes(*key_type, &node::secret(*key_type)).unwrap());
        let actor = SerialActor::start(&runtime, Arc::clone(&key));
        for callers in CALLERS {
            let window = Window { callers, length };
            table.add(*key_type, callers, measure(&runtime, &node, &actor, &key, window, windows));
        }
    }
    runtime.block_on(node.stop());
    table.print();
}

/// Signatures per second of each way in each window.
fn measure(
    runtime: &Runtime,
    node: &BenchNode,
    actor: &SerialActor,
    key: &Arc<SecretKey>,
    window: Window,
    windows: usize,
) -> [Vec<f64>; 3] {
    let mut rates: [Vec<f64>; 3] = Default::default();
    let key_type = key.key_type();
    // The first round warms up and is thrown away.
    for round in 0..=windows {
        for turn in 0..WAYS.len() {
            let way = (round + turn) % WAYS.len();
            let rate = match WAYS[way] {
                "plain" => window.plain(key),
                "serial" => runtime.block_on(window.tasks(|| actor.client())),
                _ => runtime.block_on(window.tasks(|| node.client(key_type))),
            };
            if round > 0 {
                rates[way].push(rate);
            }
        }
    }
    rates
}
