//! What all parts of the benchmark use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kms_keys::{KeyType, SecretKey};
use tokio::runtime::Runtime;

use crate::machine;
use crate::node::{self, BenchNode};
use crate::process;
use crate::serial::SerialActor;
use crate::spread::Spread;

/// How long and how often is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Windows of each way; one more comes before them and is thrown away.
    pub windows: usize,
    pub length: Duration,
}

impl Effort {
    pub fn full() -> Self {
        Self { windows: 11, length: Duration::from_millis(400) }
    }

    pub fn tiny() -> Self {
        Self { windows: 1, length: Duration::from_millis(5) }
    }

    /// The same with windows so many times as long.
    pub fn longer(self, times: u32) -> Self {
        Self { length: self.length * times, ..self }
    }

    /// Measures each way in turns, window after window, each round beginning with another way; the
    /// values of a way are in the order of the rounds.
    pub fn interleaved<T, const WAYS: usize>(
        self,
        mut measure: impl FnMut(usize) -> T,
    ) -> [Vec<T>; WAYS] {
        let mut values = [const { Vec::new() }; WAYS];
        for round in 0..=self.windows {
            for turn in 0..WAYS {
                let way = (round + turn) % WAYS;
                let value = measure(way);
                // The first round warms up.
                if round > 0 {
                    values[way].push(value);
                }
            }
        }
        values
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} windows of {:?} or more for each way, in turns", self.windows, self.length)
    }
}

/// A node with the service, the serial actor, and the keys themselves.
pub struct Scene {
    pub runtime: Runtime,
    pub node: BenchNode,
    pub serial: SerialActor,
    pub keys: [Arc<SecretKey>; 3],
    pub cores: usize,
}

impl Scene {
    pub fn new() -> Self {
        process::record_metrics();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let node = runtime.block_on(BenchNode::start());
        let keys = [KeyType::Ed25519, KeyType::Secp256k1, KeyType::Bls12381].map(|key_type| {
            Arc::new(SecretKey::from_bytes(key_type, &node::secret(key_type)).unwrap())
        });
        let serial = SerialActor::start(&runtime, keys.clone());
        Self { runtime, node, serial, keys, cores: machine::cores() }
    }

    pub fn key(&self, key_type: KeyType) -> &Arc<SecretKey> {
        self.keys.iter().find(|key| key.key_type() == key_type).unwrap()
    }

    pub fn stop(self) {
        self.runtime.block_on(self.node.stop());
    }
}

/// What is to be compared between runs, by name.
#[derive(Default)]
pub struct Ratios(Vec<(String, Spread)>);

impl Ratios {
    pub fn add(&mut self, name: impl Into<String>, spread: Spread) {
        self.0.push((name.into(), spread));
    }

    pub fn print(&self) {
        for (name, spread) in &self.0 {
            println!("{name}: {spread:.3}");
        }
        println!();
        for (name, spread) in &self.0 {
            println!("ratio {name} {:.3}", spread.median);
        }
    }
}
