//! Signatures per second of plain calls, a serial actor and the service, and the processor time that
//! each signature takes.

use std::time::Instant;

use kms_keys::KeyType;

use crate::load::{plain_rate, rate};
use crate::process::Used;
use crate::scene::{Effort, Ratios, Scene};
use crate::spread::Spread;

const CALLERS: [usize; 3] = [1, 16, 64];

/// The three ways to sign.
const WAYS: [&str; 3] = ["plain", "serial", "service"];

struct Window {
    rate: f64,
    /// For one signature.
    used: Used,
}

pub fn measure(scene: &Scene, effort: Effort, ratios: &mut Ratios) {
    println!("\nplain calls in loops, on all cores for many callers; a serial actor; the service");
    println!(
        "{:<10} {:>7}  {:<8} {:>26} {:>26} {:>26}",
        "type", "callers", "way", "signatures/s", "processor us each", "in the kernel"
    );
    for key_type in KeyType::ALL {
        for callers in CALLERS {
            let windows = effort.interleaved(|way| window(scene, effort, *key_type, callers, way));
            report(*key_type, callers, &windows, ratios);
        }
    }
}

fn window(scene: &Scene, effort: Effort, key_type: KeyType, callers: usize, way: usize) -> Window {
    let Scene { runtime, node, serial, cores, .. } = scene;
    let (length, before, begin) = (effort.length, Used::now(), Instant::now());
    let rate = match WAYS[way] {
        "plain" => plain_rate(scene.key(key_type), callers.min(*cores), length),
        "serial" => runtime.block_on(rate(callers, length, || serial.client(key_type))),
        _ => runtime.block_on(rate(callers, length, || node.client(key_type))),
    };
    // The last signatures end after the window.
    let made = rate * begin.elapsed().as_secs_f64();
    Window { rate, used: before.each(made) }
}

fn report(key_type: KeyType, callers: usize, windows: &[Vec<Window>; 3], ratios: &mut Ratios) {
    let [plain, serial, service] = windows;
    let rates = |windows: &[Window]| windows.iter().map(|window| window.rate).collect::<Vec<_>>();
    let cpu = |windows: &[Window]| windows.iter().map(|w| w.used.micros).collect::<Vec<_>>();
    let kernel =
        |windows: &[Window]| windows.iter().map(|w| w.used.kernel_micros).collect::<Vec<_>>();
    for (way, windows) in WAYS.iter().zip(windows) {
        let (made, spent) = (Spread::of(rates(windows)), Spread::of(cpu(windows)));
        let in_kernel = Spread::of(kernel(windows));
        println!(
            "{:<10} {callers:>7}  {way:<8} {:>26} {:>26} {:>26}",
            key_type.as_str(),
            format!("{made:.0}"),
            format!("{spent:.1}"),
            format!("{in_kernel:.1}"),
        );
    }
    let against = |others: &[Window]| Spread::of_ratios(&rates(service), &rates(others));
    ratios.add(format!("vs_serial.{key_type}.{callers}"), against(serial));
    if Some(&callers) == CALLERS.last() {
        ratios.add(format!("throughput.{key_type}.{callers}"), against(plain));
        let added = Spread::of_differences(&cpu(service), &cpu(plain));
        ratios.add(format!("added_cpu_us.{key_type}"), added);
    }
}
