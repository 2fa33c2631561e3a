//! What one caller waits longer for than if it had signed itself.

use std::time::{Duration, Instant};

use kms_keys::KeyType;

use crate::load::{Client, message, sign_plainly};
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::{Spread, percentile};

/// Between the pairs of a caller that lets the node come to rest.
const PAUSE: Duration = Duration::from_millis(1);

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    println!("\none caller, a plain call and a request by turns: us of the median request");
    println!("{:<10} {:<14} {:>26} {:>26}", "type", "pairs", "plain", "service");
    for key_type in KeyType::ALL {
        for (pairs, pause) in [("1 ms apart", PAUSE), ("back to back", Duration::ZERO)] {
            let [windows] = effort.interleaved(|_| window(scene, effort, *key_type, pause));
            let (plain, service): (Vec<_>, Vec<_>) = windows.into_iter().unzip();
            println!(
                "{:<10} {pairs:<14} {:>26} {:>26}",
                key_type.as_str(),
                format!("{:.1}", Spread::of(plain.clone())),
                format!("{:.1}", Spread::of(service.clone())),
            );
            let added = Spread::of_differences(&service, &plain);
            match pause {
                PAUSE => ratios.add(format!("added_us.{key_type}.1.rested"), added),
                _ => ratios.add(format!("added_us.{key_type}.1"), added),
            }
        }
    }
}

/// The medians of plain calls and of requests, made by turns in one task.
fn window(scene: &Scene, effort: Effort, key_type: KeyType, pause: Duration) -> (f64, f64) {
    let (client, key) = (scene.node.client(key_type), scene.key(key_type).clone());
    let task = scene.runtime.spawn(async move {
        let end = Instant::now() + effort.length;
        let (mut plain, mut service) = (Vec::new(), Vec::new());
        while plain.is_empty() || Instant::now() < end {
            let number = plain.len() as u64;
            let begin = Instant::now();
            sign_plainly(&key, number);
            let between = Instant::now();
            client.sign(message(number)).await;
            service.push(between.elapsed().as_secs_f64() * 1e6);
            plain.push((between - begin).as_secs_f64() * 1e6);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        (percentile(&mut plain, 50), percentile(&mut service, 50))
    });
    scene.runtime.block_on(task).unwrap()
}
