//! What shielding costs: signing with a key that is opened for each signature, against one that lies
//! open in memory. `cargo bench -p kms-backend --bench shield_cost`.
//!
//! Windows of both take turns within one run, so that whatever else the machine does hits both alike.

#![allow(clippy::unwrap_used, reason = "a benchmark has nothing better to do than to panic")]

use std::hint::black_box;
use std::time::Instant;

use kms_backend::{LocalSigner, SoftwareSigner};
use kms_keys::{KeyType, SecretKey};

fn main() {
    // `cargo test` runs benches too, without `--bench`.
    let (turns, window) =
        if std::env::args().any(|argument| argument == "--bench") { (41, 0.02) } else { (1, 0.0) };
    for key_type in KeyType::ALL {
        let open = SecretKey::generate(*key_type).unwrap();
        let again = SecretKey::from_bytes(*key_type, open.expose_secret().expose()).unwrap();
        let shielded = SoftwareSigner::new(again);
        let (scheme, message) = (key_type.schemes()[0], [7; 64]);
        let mut times = [const { Vec::new() }; 2];
        for _ in 0..turns {
            times[0].push(time(window, || open.sign(scheme, black_box(&message)).unwrap()));
            times[1].push(time(window, || shielded.sign(scheme, black_box(&message)).unwrap()));
        }
        let mut ratios: Vec<_> = times[1].iter().zip(&times[0]).map(|(s, o)| s / o).collect();
        for (name, times) in ["open", "shielded"].iter().zip(&mut times) {
            let (median, min, max) = spread(times);
            println!("{scheme}, {name:<9} {median:>7.2} us ({min:.2} - {max:.2})");
        }
        let (median, min, max) = spread(&mut ratios);
        println!("ratio shield_cost.{key_type} {median:.3} ({min:.3} - {max:.3})");
    }
}

/// Microseconds for each call, over a window of at least so many seconds.
fn time<T>(window: f64, work: impl Fn() -> T) -> f64 {
    let (begin, mut calls) = (Instant::now(), 0.0);
    loop {
        black_box(work());
        calls += 1.0;
        let spent = begin.elapsed().as_secs_f64();
        if spent >= window {
            return spent * 1e6 / calls;
        }
    }
}

fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}
