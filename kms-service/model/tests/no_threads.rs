//! A process in which no thread can be made: what waits for one is refused, and does not wait for ever.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use kms_service_model::jobs::{End, Lanes};
use kms_service_model::{explore, without_threads};

#[test]
fn what_waits_for_a_thread_is_refused() {
    without_threads();
    explore(|| {
        let (lanes, ends) = Lanes::new(2, 16);
        for caller in ["a", "b"] {
            let lanes = lanes.clone();
            shuttle::thread::spawn(move || {
                for _ in 0..2 {
                    lanes.submit(caller, 1, false);
                    lanes.call();
                }
            });
        }
        for _ in 0..4 {
            ends.recv().unwrap();
        }
        assert_eq!(lanes.ends(), [End::Overloaded; 4]);
        lanes.close();
    });
}
