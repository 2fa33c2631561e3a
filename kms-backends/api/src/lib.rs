//! The boundary between the key management service and the places where keys live.
//!
//! A *backend* is such a place: settings that point at files, an encrypted store, an HSM, a cloud
//! service. This crate holds what all of them share and no backend itself:
//!
//! - [`BackendSettings`] and [`Backend`], the two traits a backend implements;
//! - [`KeySpec`], what the service asks for, and [`RegisteredKey`] with its [`KeyInfo`] and
//!   [`Signer`], what it gets;
//! - [`Capabilities`], what a backend can do, known before anything is opened;
//! - [`read_key`], for backends that take secrets from where the settings say;
//! - [`BackendError`], which keeps the class of what went wrong;
//! - [`Request`], what a backend may know of the request that it works for;
//! - `conformance` (feature `conformance`), the contract as checks that every backend's tests run.
//!
//! The backend is asked once per key, when the key is registered; after that the service signs
//! with the key's [`Signer`] and doesn't come back.

mod backend;
mod capabilities;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod health;
mod info;
mod page;
mod request;
mod signer;
mod software;
mod source;
mod spec;

pub use async_trait::async_trait;
pub use backend::{Backend, BackendSettings, OlderVersion, OpenContext, RegisteredKey};
pub use capabilities::{Capabilities, KeyCapability, Operation, SourceUse};
pub use error::{BackendError, ErrorChain, Failure};
pub use health::{Health, HealthLevel};
pub use info::{KeyInfo, KeyState};
pub use page::{KeyPage, PageRequest};
pub use request::{Request, waiting};
pub use signer::{LocalSigner, RemoteSigner, Signer};
pub use software::SoftwareSigner;
pub use source::read_key;
pub use spec::{Callers, Derivation, IfMissing, KeySpec};
