//! How long an Ed25519 signature takes while others saturate the node with BLS.

use std::time::Duration;

use kms_keys::KeyType;
use tokio::task::JoinSet;

use crate::load::{latencies, saturate};
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::{Spread, percentile};

const CALLERS: usize = 64;

/// Between the one caller's requests.
const PAUSE: Duration = Duration::from_millis(4);

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    // A hundredth of a window's requests must be some.
    let effort = effort.longer(3);
    let [serial, service] = effort.interleaved(|way| {
        let mut times = scene.runtime.block_on(async {
            let mut others = JoinSet::new();
            if way == 0 {
                saturate(&mut others, CALLERS, || scene.serial.client(KeyType::Bls12381));
                let client = scene.serial.client(KeyType::Ed25519);
                latencies(client, PAUSE, effort.length).await
            } else {
                saturate(&mut others, CALLERS, || scene.node.client(KeyType::Bls12381));
                latencies(scene.node.client(KeyType::Ed25519), PAUSE, effort.length).await
            }
        });
        (percentile(&mut times, 50), percentile(&mut times, 99))
    });
    println!("\none Ed25519 request every {PAUSE:?} while {CALLERS} callers saturate BLS, in us");
    for (way, windows) in [("serial", &serial), ("service", &service)] {
        let median = Spread::of(windows.iter().map(|(median, _)| *median));
        let p99 = Spread::of(windows.iter().map(|(_, p99)| *p99));
        println!("{way:<8} median {median:.0}, p99 {p99:.0}");
    }
    let p99 = |windows: &[(f64, f64)]| windows.iter().map(|(_, p99)| *p99).collect::<Vec<_>>();
    ratios.add("isolation.ed25519", Spread::of_ratios(&p99(&serial), &p99(&service)));
}
