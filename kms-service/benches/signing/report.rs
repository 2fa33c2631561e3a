//! What was measured, as a table for people and as ratios for whoever compares runs.

use kms_keys::KeyType;

use crate::{CALLERS, WAYS};

/// Everything that was measured.
#[derive(Default)]
pub struct Table(Vec<Row>);

struct Row {
    key_type: KeyType,
    callers: usize,
    /// Signatures per second, by way.
    rates: [Spread; 3],
}

#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Table {
    pub fn add(&mut self, key_type: KeyType, callers: usize, rates: [Vec<f64>; 3]) {
        let rates = rates.map(Spread::of);
        self.0.push(Row { key_type, callers, rates });
    }

    pub fn print(&self) {
        println!(
            "\n{:<10} {:>7}  {:<8} {:>12} {:>19} {:>10}",
            "type", "callers", "way", "signatures/s", "(min - max)", "us each"
        );
        for row in &self.0 {
            for (way, rate) in WAYS.iter().zip(row.rates) {
                let spread = format!("({:.0} - {:.0})", rate.min, rate.max);
                let each = match row.callers {
                    1 => format!("{:.1}", rate.micros()),
                    _ => String::new(),
                };
                println!(
                    "{:<10} {:>7}  {way:<8} {:>12.0} {spread:>19} {each:>10}",
                    row.key_type.as_str(),
                    row.callers,
                    rate.median
                );
            }
        }
        println!();
        for row in &self.0 {
            let Row { key_type, callers, rates: [plain, serial, service] } = row;
            if Some(callers) == CALLERS.last() {
                let ratio = service.median / plain.median;
                println!("ratio throughput.{key_type}.{callers} {ratio:.3}");
            }
            let ratio = service.median / serial.median;
            println!("ratio vs_serial.{key_type}.{callers} {ratio:.3}");
            if *callers == 1 {
                let added = service.micros() - plain.micros();
                println!("ratio added_us.{key_type}.1 {added:.1}");
            }
        }
    }
}

impl Spread {
    fn of(mut rates: Vec<f64>) -> Self {
        rates.sort_by(f64::total_cmp);
        Self { median: rates[rates.len() / 2], min: rates[0], max: rates[rates.len() - 1] }
    }

    /// Microseconds per signature, if they are made one after the other.
    fn micros(self) -> f64 {
        1e6 / self.median
    }
}
