//! Callers that sign one message after the other, for some time.

use std::future::pending;
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

/// One plain call of the library.
pub fn sign_plainly(key: &SecretKey, number: u64) {
    let scheme = key.key_type().default_scheme();
    std::hint::black_box(key.sign(scheme, &message(number)).unwrap());
}

/// Signatures per second of so many loops of plain calls, each on a thread of its own.
pub fn plain_rate(key: &Arc<SecretKey>, loops: usize, length: Duration) -> f64 {
    let begin = Instant::now();
    let end = begin + length;
    let one = || {
        let mut made = 0;
        while Instant::now() < end {
            sign_plainly(key, made);
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
pub async fn rate<C: Client>(callers: usize, length: Duration, client: impl Fn() -> C) -> f64 {
    let begin = Instant::now();
    let end = begin + length;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let client = client();
        tasks.spawn(async move {
            let mut made = 0;
            while Instant::now() < end {
                client.sign(message(made)).await;
                made += 1;
            }
            made
        });
    }
    let made: u64 = tasks.join_all().await.into_iter().sum();
    made as f64 / begin.elapsed().as_secs_f64()
}

/// So many tasks that sign until this is dropped.
pub fn saturate<C: Client>(tasks: &mut JoinSet<()>, callers: usize, client: impl Fn() -> C) {
    for _ in 0..callers {
        let client = client();
        tasks.spawn(async move {
            for number in 0.. {
                client.sign(message(number)).await;
            }
            pending().await
        });
    }
}

/// Microseconds that each request of one caller takes; `pause` lies between their beginnings, if it
/// isn't zero.
pub async fn latencies<C: Client>(client: C, pause: Duration, length: Duration) -> Vec<f64> {
    let task = tokio::spawn(async move {
        let end = Instant::now() + length;
        let mut times = Vec::new();
        let mut next = tokio::time::Instant::now();
        while times.is_empty() || Instant::now() < end {
            let begin = Instant::now();
            client.sign(message(times.len() as u64)).await;
            times.push(begin.elapsed().as_secs_f64() * 1e6);
            if !pause.is_zero() {
                next = (next + pause).max(tokio::time::Instant::now());
                tokio::time::sleep_until(next).await;
            }
        }
        times
    });
    task.await.unwrap()
}
