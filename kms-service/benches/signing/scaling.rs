//! Throughput by the number of cores.

use kms_keys::KeyType;

use crate::load::rate;
use crate::process::on_cores;
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::Spread;

const CALLERS: usize = 64;

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    println!(
        "\nsignatures/s of {CALLERS} callers, by how many cores all threads of the process may use"
    );
    for key_type in KeyType::ALL {
        let mut curve = vec![Vec::new(); scene.cores];
        for _ in 0..effort.windows {
            for (at, rates) in curve.iter_mut().enumerate() {
                let window = rate(CALLERS, effort.length, || scene.node.client(*key_type));
                rates.push(on_cores(at + 1, || scene.runtime.block_on(window)));
            }
        }
        for (at, rates) in curve.iter().enumerate() {
            let cores = at + 1;
            println!("{:<10} {cores:>3} {:.0}", key_type.as_str(), Spread::of(rates.clone()));
            ratios.add(format!("scaling.{key_type}.{cores}"), Spread::of_ratios(rates, &curve[0]));
        }
    }
}
