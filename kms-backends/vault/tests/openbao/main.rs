//! The backend against OpenBao. Each test has a server of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod access;
mod contract;
#[cfg(feature = "envelope")]
mod envelope;
mod faults;
mod keys;
mod login;
mod outage;
mod quiet;
mod support;
