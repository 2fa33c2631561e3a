//! What a backend that answers nobody costs those who sign with others.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kms_keys::KeyType;
use tokio::task::JoinSet;

use crate::load::{Client, latencies};
use crate::node::PENDING;
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::{Spread, percentile};

/// Who ask the hung backend.
const CALLERS: usize = 64;

/// Between the end of a request there, by its deadline, and the next one.
const PAUSE: Duration = Duration::from_millis(20);

/// How long they may take until all of them ask.
const ALL_ASK_WITHIN: Duration = Duration::from_secs(10);

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    let [without, with] = effort.interleaved(|way| {
        let mut times = scene.runtime.block_on(async {
            let mut hanging = JoinSet::new();
            if way == 1 {
                // Without an answer now and then the breaker would open, and nobody would hang.
                let answered = scene.node.answered_client();
                hanging.spawn(async move {
                    loop {
                        answered.sign([7; 32]).await;
                        tokio::time::sleep(PAUSE).await;
                    }
                });
                for _ in 0..CALLERS {
                    let client = scene.node.hung_client();
                    hanging.spawn(async move {
                        loop {
                            client.hang().await;
                            tokio::time::sleep(PAUSE).await;
                        }
                    });
                }
                all_hang().await;
            }
            let client = scene.node.client(KeyType::Ed25519);
            let times = latencies(client, Duration::ZERO, effort.length).await;
            if way == 1 {
                all_hang().await;
                let failed = hanging.try_join_next();
                assert!(failed.is_none(), "somebody who asked the hung backend: {failed:?}");
            }
            times
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

/// Waits until all of them are under way in the backend at once.
async fn all_hang() {
    let all = async {
        while PENDING.load(Ordering::SeqCst) != CALLERS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let all = tokio::time::timeout(ALL_ASK_WITHIN, all).await;
    assert!(all.is_ok(), "{} of {CALLERS} hang", PENDING.load(Ordering::SeqCst));
}
