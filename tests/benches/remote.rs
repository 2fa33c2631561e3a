//! Signing elsewhere: through the service of a node, and by a plain loop of who talks to the same peer
//! itself and verifies each signature too. And signing here, while a backend elsewhere misbehaves. What is
//! compared takes turns in short windows of one run.
//!
//! `eval "$(cargo xtask peers)" && cargo bench -p kms-tests --bench remote`, all of it or what is named
//! behind `--`, such as `vault.ed25519`, `many` or `faults`; `cargo test` measures nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark that can't set its scene has nothing better to do than to panic"
)]

#[path = "remote/aws.rs"]
mod aws;
#[path = "remote/faults.rs"]
mod faults;
#[path = "remote/http.rs"]
mod http;
#[path = "remote/node.rs"]
mod node;
#[path = "remote/pkcs11.rs"]
mod pkcs11;
#[path = "remote/vault.rs"]
mod vault;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_keys::{KeyId, Secp256k1PublicKey};
use kms_service::KmsApi;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::node::Scene;

pub const WINDOWS: usize = 9;
pub const LENGTH: Duration = Duration::from_millis(400);
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
    let named: Vec<_> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let scene = runtime.block_on(Scene::start());
    println!(
        "{WINDOWS} windows of {LENGTH:?} for each way, in turns; signatures/s, and the processor time of this \
         process for each in us: medians (ranges)"
    );
    let mut ratios = Vec::new();
    for (name, id) in scene.keys.iter().filter(|(name, _)| wanted(name)) {
        let public_key = runtime.block_on(scene.api.public_key(id)).unwrap();
        let plain = match *name {
            "vault.ed25519" => vault::plain(&scene.bao, id, public_key),
            "aws.ed25519" | "aws.secp256k1" => aws::plain(&scene.aws, id, public_key),
            _ => pkcs11::plain(&scene.token, id, public_key),
        };
        for callers in CALLERS {
            let [mut raw, mut service, mut raw_cpu, mut service_cpu] = [const { Vec::new() }; 4];
            // The first round warms up.
            for round in 0..=WINDOWS {
                let raw_one = window(|| raw_rate(&plain, callers));
                let service_one =
                    window(|| runtime.block_on(service_rate(&scene.api, id, callers)));
                if round > 0 {
                    raw.push(raw_one.0);
                    raw_cpu.push(raw_one.1);
                    service.push(service_one.0);
                    service_cpu.push(service_one.1);
                }
            }
            println!("{name:<16} {callers:>3}  raw {}; service {}", spread(&raw), spread(&service));
            println!(
                "{:<20}  raw {} us; service {} us",
                "",
                spread(&raw_cpu),
                spread(&service_cpu)
            );
            ratios.push((format!("remote.{name}.{callers}"), ratio(&service, &raw)));
        }
    }
    if wanted("many") {
        many(&runtime, &scene.api, &scene.keys[0].1, &mut ratios);
    }
    if wanted("faults") {
        faults::measure(&runtime, &scene, &mut ratios);
    }
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
    println!("vault.ed25519      1  single {}; {MANY} at once {}", spread(&single), spread(&many));
    ratios.push(("remote.vault.sign_many".into(), ratio(&many, &single)));
}

/// What a caller signs: another message each time.
pub fn message(number: u64) -> [u8; 32] {
    let mut message = [7; 32];
    message[..8].copy_from_slice(&number.to_be_bytes());
    message
}

/// What an ECDSA signature over it is made of.
pub fn digest(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

/// What the service does with an ECDSA signature that comes from elsewhere, and with it a verification:
/// brings `s` into the lower half and finds the recovery id.
pub fn completed(key: &Secp256k1PublicKey, message: &[u8], signature: &[u8]) {
    let signature = key.complete_signature(&digest(message), signature).unwrap();
    assert!(signature.recovery_id().is_some());
}

/// The rate of a window, and the processor time of this process for each signature, in microseconds.
fn window(work: impl FnOnce() -> f64) -> (f64, f64) {
    let spent = || {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
    };
    let (before, begin) = (spent(), Instant::now());
    let rate = work();
    (rate, (spent() - before) / (rate * begin.elapsed().as_secs_f64()))
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

pub fn spread(values: &[f64]) -> String {
    let values = sorted(values);
    let (middle, last) = (values.len() / 2, values.len() - 1);
    format!("{:.0} ({:.0} - {:.0})", values[middle], values[0], values[last])
}

/// The median of what was measured one after the other.
pub fn ratio(above: &[f64], below: &[f64]) -> f64 {
    let ratios: Vec<_> = above.iter().zip(below).map(|(above, below)| above / below).collect();
    sorted(&ratios)[ratios.len() / 2]
}
