//! Every way in which a key is refused, except those that need a broken machine or source of
//! randomness (`src/random.rs` has the latter).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod der;
mod documents;
mod pem;
