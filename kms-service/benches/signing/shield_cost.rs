//! What shielding costs: signing with a key that is opened for each signature, against one that lies
//! open in memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use kms_backend::{LocalSigner, SoftwareSigner};
use kms_keys::{KeyType, SecretKey};

use crate::load::{message, sign_plainly};
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::Spread;

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    // What is compared differs by little; many short turns tell it best.
    let effort = Effort { windows: effort.windows * 4, length: effort.length / 20 };
    println!("\nsigning with an open key and with a shielded one, in us");
    for key_type in KeyType::ALL {
        let open = scene.key(*key_type);
        let again = SecretKey::from_bytes(*key_type, open.expose_secret().expose()).unwrap();
        let shielded = SoftwareSigner::new(again);
        let scheme = key_type.default_scheme();
        let [plain, opened] = effort.interleaved(|way| match way {
            0 => time(effort.length, |number| sign_plainly(open, number)),
            _ => time(effort.length, |number| {
                black_box(shielded.sign(scheme, &message(number)).unwrap());
            }),
        });
        println!(
            "{:<10} open {:.2}; shielded {:.2}",
            key_type.as_str(),
            Spread::of(plain.clone()),
            Spread::of(opened.clone())
        );
        ratios.add(format!("shield_cost.{key_type}"), Spread::of_ratios(&opened, &plain));
    }
}

/// Microseconds for each call, over a window of this length.
fn time(length: Duration, work: impl Fn(u64)) -> f64 {
    let (begin, mut calls) = (Instant::now(), 0);
    loop {
        work(calls);
        calls += 1;
        let spent = begin.elapsed();
        if spent >= length {
            return spent.as_secs_f64() * 1e6 / calls as f64;
        }
    }
}
