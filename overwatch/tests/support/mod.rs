//! A service that does what a test tells it, and a node with two of them.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "every test file compiles this on its own and none needs all of it"
)]

mod pair;
mod worker;

pub use pair::*;
pub use worker::*;
