//! What every backend that asks somebody else to sign shares: a cloud service, a server, an HSM.
//!
//! - [`RemoteSettings`], the part of a backend's settings that is the same for all;
//! - [`Remote`], through which everything is asked: bounded in number and time, tried again where that
//!   can help ([`Remote::retried`], [`Remote::reconciled`], [`Remote::until_usable`]), recorded before
//!   and after;
//! - [`NewLogin`], for what a login was not accepted for and another may be;
//! - [`Expected`], which believes no signature that its key doesn't verify;
//! - [`aside`], for work on large messages;
//! - [`wiped`], [`to_base64`] and [`from_base64`], for secrets that are sent and received;
//! - `is_distrust` (feature `tls`), which tells a server that isn't believed from one that is away;
//! - [`HealthWatch`], which asks how the other side is, again and again, so that nobody waits for it.

mod aside;
mod audit;
mod audit_file;
#[cfg(feature = "tls")]
mod distrust;
mod error;
mod health;
mod new_login;
mod permits;
mod remote;
mod retry;
mod settings;
mod verified;
mod wiped;

pub use aside::aside;
#[cfg(feature = "tls")]
pub use distrust::is_distrust;
pub use error::class;
pub use health::HealthWatch;
pub use new_login::NewLogin;
pub use remote::{Call, Remote};
pub use retry::Pauses;
pub use settings::{AuditSettings, RemoteSettings, RetrySettings, duration};
pub use verified::Expected;
pub use wiped::{from_base64, to_base64, wiped};
