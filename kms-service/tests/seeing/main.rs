//! What can be seen of the service from outside: its metrics, and the spans of its requests. A program
//! of its own, because a process has one recorder and one subscriber.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]
#![allow(
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "nothing of a test is reachable, and each test program uses its own part"
)]

/// Asserts that a result is an error of this shape.
macro_rules! assert_refused {
    ($result:expr, $pattern:pat) => {
        match $result {
            Err($pattern) => {}
            other => panic!("{other:?}"),
        }
    };
}

mod metrics;
mod spans;
#[path = "../service/support/mod.rs"]
mod support;

/// One test at a time: they look at what the whole process does. So each stops its node, which would
/// otherwise end some time after the test.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
