//! What a node does not start with: the exit code, and a report that names every key that failed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod keys;
mod pasted;
mod sections;
mod several;
mod sources;
#[path = "../support/mod.rs"]
mod support;
mod yaml;
