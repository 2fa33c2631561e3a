//! The backend on a key management service of AWS that runs here, and on what misbehaves in its place.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod credentials;
mod distrust;
#[cfg(feature = "envelope")]
mod envelope;
mod faults;
mod keys;
mod leftover;
mod outage;
mod scene;
