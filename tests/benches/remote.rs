//! Signing elsewhere: through the service of a node, and by a plain loop of who talks to the same peer
//! itself and verifies each signature too. Both take turns in short windows of one run.
//!
//! `eval "$(cargo xtask peers)" && cargo bench -p kms-tests --bench remote`; `cargo test` measures nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a benchmark that can't set its scene has nothing better to do than to panic"
)]

#[path = "remote/node.rs"]
mod node;
#[path = "remote/pkcs11.rs"]
mod pkcs11;
#[path = "remote/vault.rs"]
mod vault;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_keys::KeyId;
use kms_service::KmsApi;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::node::Scene;

const WINDOWS: usize = 9;
const LENGTH: Duration = Duration::from_millis(400);
const CALLERS: [usize; 2] = [1, 16];
/// Messages of one request for many signatures.
const MANY: usize = 256;

/// Signs one message after the other, and verifies, until it is told to end: how many.
type Loop = Arc<dyn Fn(Instant) -> u64 + Send + Sync>;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let scene = runtime.block_on(Scene::start());
    println!(
        "{WINDOWS} windows of {LENGTH:?} for each way, in turns; signatures/s: medians (ranges)"
    );
    let mut ratios = Vec::new();
    for (name, id) in &scene.keys {
        let public_key = runtime.block_on(scene.api.public_key(id)).unwrap();
        let plain = match *name {
            "vault" => vault::plain(&scene.bao, id, public_key),
            _ => pkcs11::plain(&scene.token, id, public_key),
        };
        for callers in CALLERS {
            let [mut raw, mut service] = [const { Vec::new() }; 2];
            // The first round warms up.
            for round in 0..=WINDOWS {
                let measured = [
                    raw_rate(&plain, callers),
                    runtime.block_on(service_rate(&scene.api, id, callers)),
                ];
                if round > 0 {
                    raw.push(measured[0]);
                    service.push(measured[1]);
                }
            }
            println!("{name:<8} {callers:>3}  raw {}; service {}", spread(&raw), spread(&service));
            ratios.push((format!("remote.{name}.{callers}"), ratio(&service, &raw)));
        }
    }
    let (_, id) = &scene.keys[0];
    many(&runtime, &scene.api, id, &mut ratios);
    runtime.block_on(scene.stop());
    println!();
    for (name, ratio) in ratios {
        println!("ratio {name} {ratio:.3}");
    }
}

/// One caller on Vault: requests for many signatures, and single ones.
fn many(runtime: &Runtime, api: &KmsApi, id: &KeyId, ratios: &mut Vec<(String, f64)>) {
    let [mut single, mut many] = [const { Vec::new() }; 2];
    for _ in 0..WINDOWS {
        single.push(runtime.block_on(service_rate(api, id, 1)));
        many.push(runtime.block_on(async {
            let (begin, mut made) = (Instant::now(), 0);
            while begin.elapsed() < LENGTH {
                let messages = (0..MANY as u64).map(|number| message(number).to_vec()).collect();
                let signed = api.sign_many(id, None, messages).await.unwrap();
                assert!(signed.iter().all(Result::is_ok));
                made += signed.len();
            }
            made as f64 / begin.elapsed().as_secs_f64()
        }));
    }
    println!("vault      1  single {}; {MANY} at once {}", spread(&single), spread(&many));
    ratios.push(("remote.vault.sign_many".into(), ratio(&many, &single)));
}

/// What a caller signs: another message each time.
pub fn message(number: u64) -> [u8; 32] {
    let mut message = [7; 32];
    message[..8].copy_from_slice(&number.to_be_bytes());
    message
}

fn raw_rate(plain: &Loop, callers: usize) -> f64 {
    let begin = Instant::now();
    let made: u64 = std::thread::scope(|scope| {
        let loops: Vec<_> = (0..callers).map(|_| scope.spawn(|| plain(begin + LENGTH))).collect();
        loops.into_iter().map(|each| each.join().unwrap()).sum()
    });
    made as f64 / begin.elapsed().as_secs_f64()
}

async fn service_rate(api: &KmsApi, id: &KeyId, callers: usize) -> f64 {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (api, id) = (api.clone(), id.clone());
        tasks.spawn(async move {
            let mut made = 0;
            while begin.elapsed() < LENGTH {
                api.sign(&id, message(made)).await.unwrap();
                made += 1;
            }
            made
        });
    }
    let made: u64 = tasks.join_all().await.into_iter().sum();
    made as f64 / begin.elapsed().as_secs_f64()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn spread(values: &[f64]) -> String {
    let values = sorted(values);
    let (middle, last) = (values.len() / 2, values.len() - 1);
    format!("{:.0} ({:.0} - {:.0})", values[middle], values[0], values[last])
}

/// The median of what was measured one after the other.
fn ratio(above: &[f64], below: &[f64]) -> f64 {
    let ratios: Vec<_> = above.iter().zip(below).map(|(above, below)| above / below).collect();
    sorted(&ratios)[ratios.len() / 2]
}
