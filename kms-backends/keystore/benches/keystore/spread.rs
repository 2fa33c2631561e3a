//! Times that were measured, and how far they lie apart.

use std::time::{Duration, Instant};

/// Times of one thing that was done several times.
#[derive(Default)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Does it once more.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let done = work();
        self.0.push(begin.elapsed());
        done
    }

    pub fn median(&self) -> f64 {
        let mut times = self.0.clone();
        times.sort();
        times[times.len() / 2].as_secs_f64()
    }

    pub fn print(&self, what: &str) {
        let seconds = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64);
        let (min, max) = (seconds(self.0.iter().min()), seconds(self.0.iter().max()));
        println!("{what:<58} {:>9.4} s ({min:.4} - {max:.4})", self.median());
    }
}
