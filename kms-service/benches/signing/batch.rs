//! What it brings to ask for many signatures at once.

use std::time::Instant;

use kms_keys::KeyType;

use crate::load::{Client, message};
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::Spread;

/// Messages of one request.
const MESSAGES: u64 = 1000;

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    println!("\n{MESSAGES} messages of one caller, in ms: one by one, and in one request");
    for key_type in KeyType::ALL {
        let [single, many] = effort.interleaved(|way| {
            let client = scene.node.client(*key_type);
            let task = scene.runtime.spawn(async move {
                let begin = Instant::now();
                if way == 0 {
                    for number in 0..MESSAGES {
                        client.sign(message(number)).await;
                    }
                } else {
                    client.sign_many((0..MESSAGES).map(|number| message(number).to_vec())).await;
                }
                begin.elapsed().as_secs_f64() * 1e3
            });
            scene.runtime.block_on(task).unwrap()
        });
        println!(
            "{:<10} single {:.1}; many {:.1}",
            key_type.as_str(),
            Spread::of(single.clone()),
            Spread::of(many.clone())
        );
        ratios.add(format!("batch.{key_type}"), Spread::of_ratios(&single, &many));
    }
}
