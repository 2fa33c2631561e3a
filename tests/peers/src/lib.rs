//! Real servers for tests to work with, and what gets in the way on the wire.
//!
//! - [`Bao`], an OpenBao server of the test's own;
//! - [`Ministack`], a key management service of AWS that runs here;
//! - [`SoftHsm`], a token of SoftHSM2;
//! - [`Proxy`], between a client and a server – or in a server's place – which refuses, cuts, delays and
//!   lies as it is told, and counts;
//! - [`Callers`], which keep one of them busy;
//! - [`paired`], which reads audit records and checks that no half of a pair is missing;
//! - [`write_secret`], for what all of them are told.
//!
//! Whatever is missing here panics: a test without its peer fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test's peer fails the test"
)]

mod bao;
mod callers;
mod http;
mod ministack;
mod port;
mod proxy;
mod records;
mod secret_file;
mod softhsm;

pub use bao::Bao;
pub use callers::Callers;
pub use http::{Answer, Request};
pub use ministack::Ministack;
pub use port::free_port;
pub use proxy::{Fault, Proxy};
pub use records::{outcomes, paired, paired_but};
pub use secret_file::write_secret;
pub use softhsm::SoftHsm;
