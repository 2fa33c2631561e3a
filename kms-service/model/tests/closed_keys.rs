//! Once a key is disabled or its deletion is scheduled, and this has been answered, no later signature
//! of it is given out: in whatever order things happen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use kms_service_model::{Closing, GivenOut, Service, explore, gate_closes};

/// Two callers sign, one of them in batches too, while a third takes key `a` out of use.
fn closed_meanwhile(threads: usize, brief: bool, closing: Closing) {
    let service = Service::start(threads, brief);
    let asked = service.asked();
    let signing = [1, 2].map(|batch| {
        let client = service.client();
        shuttle::thread::spawn(move || {
            let first = client.sign("a");
            if batch == 2 {
                client.sign_many("a", batch);
            }
            client.sign("b");
            client.wait(first);
            client.sign("a");
        })
    });
    let client = service.client();
    let closing = shuttle::thread::spawn(move || {
        client.close("a", closing);
        let before = client.signed("a");
        let late = client.sign("a");
        client.wait(late);
        before
    });
    let before = closing.join().unwrap();
    signing.into_iter().for_each(|thread| thread.join().unwrap());
    service.stop();
    asked.wait_for_all();
    assert_eq!(asked.signed("a"), before, "given out after the answer");
    asked.all_answered();
}

#[test]
fn disabled_while_lanes_sign() {
    explore(|| closed_meanwhile(2, false, Closing::Disable));
}

#[test]
fn disabled_while_the_loop_signs() {
    explore(|| closed_meanwhile(1, true, Closing::Disable));
}

#[test]
fn deleted_while_lanes_sign() {
    explore(|| closed_meanwhile(1, false, Closing::Delete));
}

#[test]
fn deleted_while_the_loop_signs() {
    explore(|| closed_meanwhile(2, true, Closing::Delete));
}

#[test]
fn the_gate_closes_behind_who_is_inside() {
    explore(|| gate_closes(GivenOut::Rightly));
}

#[test]
fn the_gates_of_an_aggregate_close_without_a_deadlock() {
    explore(|| gate_closes(GivenOut::ByMany));
}

// What follows is broken on purpose: the model must find it.

#[test]
#[should_panic(expected = "given out after the key was disabled")]
fn found_without_the_gate() {
    explore(|| gate_closes(GivenOut::Unasked));
}

#[test]
#[should_panic(expected = "given out after the key was disabled")]
fn found_outside_the_gate() {
    explore(|| gate_closes(GivenOut::Outside));
}
