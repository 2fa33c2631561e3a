//! How late the node's runtime gets to its other tasks while both lanes are saturated.

use std::time::{Duration, Instant};

use kms_keys::KeyType;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::load::saturate;
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::{Spread, percentile};

/// Of each lane.
const CALLERS: usize = 64;

const TICK: Duration = Duration::from_millis(1);

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    let effort = effort.longer(2);
    let [idle, busy] = effort.interleaved(|way| {
        scene.runtime.block_on(async {
            let mut others = JoinSet::new();
            if way == 1 {
                for key_type in [KeyType::Ed25519, KeyType::Bls12381] {
                    saturate(&mut others, CALLERS, || scene.node.client(key_type));
                }
            }
            let mut delays = tokio::spawn(delays(effort.length)).await.unwrap();
            percentile(&mut delays, 99)
        })
    });
    println!("\na ticker of {TICK:?} on the node's runtime: p99 of its delays, in ms");
    println!("idle node {:.2}; both lanes saturated {:.2}", Spread::of(idle), {
        let busy = Spread::of(busy);
        ratios.add("runtime_delay", busy);
        busy
    });
}

/// How late each tick came that was due, in milliseconds. The runtime's timer itself counts whole milliseconds.
async fn delays(length: Duration) -> Vec<f64> {
    let end = Instant::now() + length;
    let mut ticker = tokio::time::interval(TICK);
    // A stall makes each tick late that was due in it.
    ticker.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticker.tick().await;
    let mut delays = Vec::new();
    while delays.is_empty() || Instant::now() < end {
        let due = ticker.tick().await;
        delays.push(due.elapsed().as_secs_f64() * 1e3);
    }
    delays
}
