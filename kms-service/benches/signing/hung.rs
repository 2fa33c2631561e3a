//! What a backend that answers nobody costs those who sign with others.

use std::time::Duration;

use kms_keys::KeyType;
use tokio::task::JoinSet;

use crate::load::latencies;
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::{Spread, percentile};

/// Who ask the hung backend.
const CALLERS: usize = 64;

/// Between the end of a request there, by its deadline, and the next one.
const PAUSE: Duration = Duration::from_millis(20);

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    let [without, with] = effort.interleaved(|way| {
        let mut times = scene.runtime.block_on(async {
            let mut hanging = JoinSet::new();
            if way == 1 {
                for _ in 0..CALLERS {
                    let client = scene.node.hung_client();
                    hanging.spawn(async move {
                        loop {
                            client.try_to_sign().await;
                            tokio::time::sleep(PAUSE).await;
                        }
                    });
                }
                // So that they all hang.
                tokio::time::sleep(PAUSE).await;
            }
            latencies(scene.node.client(KeyType::Ed25519), Duration::ZERO, effort.length).await
        });
        [50, 99].map(|hundredths| percentile(&mut times, hundredths))
    });
    println!("\none Ed25519 caller while {CALLERS} others ask a hung remote backend, in us");
    let names = ["hung_backend", "hung_backend.p99"];
    for (at, (name, what)) in names.iter().zip(["median", "p99"]).enumerate() {
        let [with, without] =
            [&with, &without].map(|windows| windows.iter().map(|w| w[at]).collect::<Vec<_>>());
        println!(
            "{what:<6} without {:.1}; with {:.1}",
            Spread::of(without.clone()),
            Spread::of(with.clone())
        );
        ratios.add(*name, Spread::of_ratios(&with, &without));
    }
}
