//! What the service adds to a signature, how many it makes, and whom it keeps waiting.
//!
//! Whatever is compared takes turns in short windows of one run, so that what else the machine does
//! hits all alike; the median of the windows counts, the range is printed beside it. Metrics are
//! recorded, and keys are shielded. `cargo bench -p kms-service` runs everything, or the parts that
//! are named behind `--`; with `--test` it makes one tiny pass.

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

#[path = "signing/batch.rs"]
mod batch;
#[path = "signing/hung.rs"]
mod hung;
#[path = "signing/isolation.rs"]
mod isolation;
#[path = "signing/latency.rs"]
mod latency;
#[path = "signing/load.rs"]
mod load;
#[path = "signing/machine.rs"]
mod machine;
#[path = "signing/node.rs"]
mod node;
#[path = "signing/process.rs"]
mod process;
#[path = "signing/rates.rs"]
mod rates;
#[path = "signing/runtime_delay.rs"]
mod runtime_delay;
#[path = "signing/scaling.rs"]
mod scaling;
#[path = "signing/scene.rs"]
mod scene;
#[path = "signing/serial.rs"]
mod serial;
#[path = "signing/shield_cost.rs"]
mod shield_cost;
#[path = "signing/spread.rs"]
mod spread;

use crate::scene::{Effort, Ratios, Scene};

type Part = fn(&Scene, Effort, &mut Ratios);

const PARTS: [(&str, Part); 8] = [
    ("rates", rates::measure),
    ("latency", latency::measure),
    ("isolation", isolation::measure),
    ("runtime_delay", runtime_delay::measure),
    ("hung_backend", hung::measure),
    ("shield_cost", shield_cost::measure),
    ("batch", batch::measure),
    ("scaling", scaling::measure),
];

fn main() {
    // `cargo test` runs benches too, with `--test` or without `--bench`.
    let effort = match std::env::args().any(|argument| argument == "--bench") {
        true => Effort::full(),
        false => Effort::tiny(),
    };
    let asked: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    println!("{}", machine::describe());
    println!("{effort}; 32-byte messages; medians (and ranges) of the windows");
    let scene = Scene::new();
    let mut ratios = Ratios::default();
    for (name, measure) in PARTS {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            measure(&scene, effort, &mut ratios);
        }
    }
    scene.stop();
    println!();
    ratios.print();
}
