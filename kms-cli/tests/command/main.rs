//! The command as operators run it: the real program, each test in a folder of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod backup;
mod doctor;
mod doctor_keys;
mod doctor_rights;
mod export;
mod external;
mod folder;
mod import;
mod keys;
mod lifecycle;
mod masters;
mod sharing;
mod stores;
mod support;
mod terminal;
mod unlockers;
mod usage;
