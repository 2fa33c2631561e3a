//! What every backend that asks somebody else to sign shares: a cloud service, a server, an HSM.
//!
//! - [`RemoteSettings`], the part of a backend's settings that is the same for all;
//! - [`Remote`], through which everything is asked: bounded in number and time, tried again where that
//!   can help ([`Remote::retried`], [`Remote::reconciled`], [`Remote::until_usable`]), recorded before
//!   and after;
//! - [`Expected`], which believes no signature that its key doesn't verify;
//! - [`HealthWatch`], which asks how the other side is, again and again, so that nobody waits for it.

mod audit;
mod error;
mod health;
mod remote;
mod retry;
mod settings;
mod verified;

pub use error::class;
pub use health::HealthWatch;
pub use remote::{Call, Remote};
pub use retry::Pauses;
pub use settings::{AuditSettings, RemoteSettings, RetrySettings, duration};
pub use verified::Expected;
