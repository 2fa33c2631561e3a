//! What it brings to ask for many signatures at once, and what the machine's cores bring to plain calls at the
//! same time: two that share what computes are less than two.

use std::time::Instant;

use kms_keys::{KeyType, SecretKey};

use crate::load::{Client, message};
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::Spread;

/// Messages of one request.
const MESSAGES: u64 = 1000;

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    println!("\n{MESSAGES} messages of one caller, in ms: one by one, and in one request");
    for key_type in KeyType::ALL {
        let key = scene.key(*key_type);
        let [single, many, plain, on_all_cores] = effort.interleaved(|way| match way {
            0 | 1 => by_the_service(scene, *key_type, way == 1),
            2 => by_plain_calls(key, 1),
            _ => by_plain_calls(key, scene.cores as u64),
        });
        println!(
            "{:<10} single {:.1}; many {:.1}; plain calls {:.1}, on all cores {:.1}",
            key_type.as_str(),
            Spread::of(single.clone()),
            Spread::of(many.clone()),
            Spread::of(plain.clone()),
            Spread::of(on_all_cores.clone()),
        );
        ratios.add(format!("batch.{key_type}"), Spread::of_ratios(&single, &many));
        ratios.add(format!("batch.{key_type}.plain"), Spread::of_ratios(&plain, &on_all_cores));
    }
}

/// Milliseconds.
fn by_the_service(scene: &Scene, key_type: KeyType, at_once: bool) -> f64 {
    let client = scene.node.client(key_type);
    let task = scene.runtime.spawn(async move {
        let begin = Instant::now();
        if at_once {
            client.sign_many((0..MESSAGES).map(|number| message(number).to_vec())).await;
        } else {
            for number in 0..MESSAGES {
                client.sign(message(number)).await;
            }
        }
        begin.elapsed().as_secs_f64() * 1e3
    });
    scene.runtime.block_on(task).unwrap()
}

/// Milliseconds.
fn by_plain_calls(key: &SecretKey, threads: u64) -> f64 {
    let scheme = key.key_type().default_scheme();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for number in (thread..MESSAGES).step_by(threads as usize) {
                    std::hint::black_box(key.sign(scheme, &message(number)).unwrap());
                }
            });
        }
    });
    begin.elapsed().as_secs_f64() * 1e3
}
