//! A node that runs: what it prints, where its secrets may come from, how it is stopped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod check;
mod demo;
mod injected;
mod lines;
mod logs;
mod process;
mod sources;
#[path = "../support/mod.rs"]
mod support;
mod usage;
