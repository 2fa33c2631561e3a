//! How long a signature takes with a key that is here, while who signs elsewhere suffers.

use std::time::{Duration, Instant};

use kms_keys::KeyId;
use kms_peers::{Answer, Fault};
use kms_service::KmsApi;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::node::Scene;
use crate::{LENGTH, WINDOWS, message, ratio, spread};

/// Those who want signatures of the backend that misbehaves; each asks again after a while.
const SUFFERING: usize = 16;
const AGAIN: Duration = Duration::from_millis(5);

/// Between two signatures here.
const REST: Duration = Duration::from_millis(1);

pub fn measure(runtime: &Runtime, scene: &Scene, ratios: &mut Vec<(String, f64)>) {
    let faults = [
        ("delay", Fault::Delay(Duration::from_secs(60))),
        ("cut", Fault::CutAnswer),
        ("drip", Fault::Drip(Duration::from_millis(20))),
        ("error", Fault::Answer(Answer::new(500, "{}"))),
        ("throttle", Fault::Answer(Answer::new(429, "{}"))),
        ("garbage", Fault::Garbage(1024 * 1024)),
    ];
    println!(
        "\nus for an Ed25519 signature here, with {SUFFERING} callers of a backend that misbehaves"
    );
    for (name, fault) in faults {
        let [mut quiet, mut faulty] = [const { Vec::new() }; 2];
        for _ in 0..WINDOWS {
            quiet.push(runtime.block_on(local(&scene.api, &scene.here)));
            scene.proxy.next_at("/sign/", fault.clone(), 100_000);
            faulty.push(runtime.block_on(async {
                let mut suffering = JoinSet::new();
                for _ in 0..SUFFERING {
                    suffering.spawn(suffer(scene.api.clone(), scene.broken.clone()));
                }
                local(&scene.api, &scene.here).await
            }));
            scene.proxy.all_right();
        }
        println!("{name:<9} without {}; with {}", spread(&quiet), spread(&faulty));
        ratios.push((format!("local.{name}"), ratio(&faulty, &quiet)));
    }
}

/// The median of what one caller waits for a signature, in us.
async fn local(api: &KmsApi, id: &KeyId) -> f64 {
    let (begin, mut waited) = (Instant::now(), Vec::new());
    while begin.elapsed() < LENGTH {
        let asked = Instant::now();
        api.sign(id, message(waited.len() as u64)).await.unwrap();
        waited.push(asked.elapsed().as_secs_f64() * 1e6);
        tokio::time::sleep(REST).await;
    }
    waited.sort_by(f64::total_cmp);
    waited[waited.len() / 2]
}

async fn suffer(api: KmsApi, id: KeyId) {
    loop {
        drop(api.sign(&id, "m").deadline(Duration::from_millis(200)).await);
        tokio::time::sleep(AGAIN).await;
    }
}
