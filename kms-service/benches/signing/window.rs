//! One stretch of time in which signatures are counted.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kms_keys::SecretKey;
use tokio::task::JoinSet;

/// What a caller signs: 32 bytes, another message each time.
pub fn message(number: u64) -> [u8; 32] {
    let mut message = [7; 32];
    message[..8].copy_from_slice(&number.to_be_bytes());
    message
}

/// Signs through something, one message after the other.
pub trait Client: Send + 'static {
    fn sign(&self, message: [u8; 32]) -> impl Future<Output = ()> + Send;
}

#[derive(Clone, Copy)]
pub struct Window {
    pub callers: usize,
    pub length: Duration,
}

impl Window {
    /// Signatures per second of plain calls: of one loop for one caller, else of a loop on each core.
    pub fn plain(self, key: &Arc<SecretKey>) -> f64 {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let loops = self.callers.min(cores);
        let scheme = key.key_type().default_scheme();
        let begin = Instant::now();
        let end = begin + self.length;
        let one = || {
            let mut made = 0;
            while Instant::now() < end {
                std::hint::black_box(key.sign(scheme, &message(made)).unwrap());
                made += 1;
            }
            made
        };
        let made: u64 = thread::scope(|scope| {
            let loops: Vec<_> = (0..loops).map(|_| scope.spawn(one)).collect();
            loops.into_iter().map(|each| each.join().unwrap()).sum()
        });
        made as f64 / begin.elapsed().as_secs_f64()
    }

    /// Signatures per second of so many tasks, each with a client of its own.
    pub async fn tasks<C: Client>(self, client: impl Fn() -> C) -> f64 {
        let begin = Instant::now();
        let end = begin + self.length;
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            let client = client();
            callers.spawn(async move {
                let mut made = 0;
                while Instant::now() < end {
                    client.sign(message(made)).await;
                    made += 1;
                }
                made
            });
        }
        let made: u64 = callers.join_all().await.into_iter().sum();
        made as f64 / begin.elapsed().as_secs_f64()
    }
}
