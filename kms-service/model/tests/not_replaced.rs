//! Broken on purpose, in a process of its own: threads that die without being replaced. The model must
//! find the job that waits for ever.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use kms_service_model::jobs::Lanes;
use kms_service_model::{explore, without_replacement};

#[test]
#[should_panic(expected = "deadlock")]
fn found_where_nobody_is_left() {
    without_replacement();
    explore(|| {
        let (lanes, ends) = Lanes::new(1, 16);
        for panics in [true, false] {
            lanes.submit("a", 1, panics);
            lanes.call();
        }
        for _ in 0..2 {
            ends.recv().unwrap();
        }
        lanes.close();
    });
}
