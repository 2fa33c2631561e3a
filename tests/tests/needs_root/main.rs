//! Tests that only root can run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod audit_disk;
mod disk;
mod store_disk;
