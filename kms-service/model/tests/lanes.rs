//! Every job of a lane ends once, whoever submits, closes and dies meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use kms_service_model::explore;
use kms_service_model::jobs::{End, Lanes};

/// Three callers submit to a lane that is short of room and closed at some point.
fn submitted_while_closed(panics: bool) {
    let (lanes, ends) = Lanes::new(2, 1);
    let submitting = ["a", "b", "c"].map(|caller| {
        let lanes = lanes.clone();
        shuttle::thread::spawn(move || {
            for number in 0..3 {
                // One of them is more than a thread does at once.
                let weight = if number == 1 { 20 } else { 1 };
                lanes.submit(caller, weight, panics && caller == "a" && number == 0);
                lanes.call();
            }
        })
    });
    lanes.close();
    submitting.into_iter().for_each(|thread| thread.join().unwrap());
    lanes.submit("late", 1, false);
    for _ in 0..10 {
        ends.recv().unwrap();
    }
    let ends = lanes.ends();
    assert_eq!(ends.last(), Some(&End::Stopped));
    assert!(panics || !ends.contains(&End::Lost), "{ends:?}");
}

#[test]
fn each_ends_once() {
    explore(|| submitted_while_closed(false));
}

#[test]
fn each_ends_once_though_threads_die() {
    explore(|| submitted_while_closed(true));
}

/// Nobody is still to be answered when a lane has been closed, also not elsewhere.
#[test]
fn all_have_ended_once_it_is_closed() {
    explore(|| {
        let (lanes, _ends) = Lanes::new(2, 16);
        for weight in [1, 40, 1, 20, 1] {
            lanes.submit("a", weight, false);
        }
        lanes.call();
        lanes.close();
        assert_eq!(lanes.ends().len(), 5);
    });
}

/// Nobody wakes a lane whose threads died but who takes their place.
#[test]
fn threads_that_die_are_replaced() {
    explore(|| {
        let (lanes, ends) = Lanes::new(2, 16);
        for panics in [true, false, true, false, false] {
            lanes.submit("a", 1, panics);
            lanes.call();
        }
        for _ in 0..5 {
            ends.recv().unwrap();
        }
        lanes.close();
        assert!(lanes.ends().contains(&End::Lost));
    });
}
