//! Keys in a PKCS#11 token – an HSM, a smart card, SoftHSM2 – as a backend of the key management service.
//!
//! Private keys are made there, sensitive and not extractable, and never leave. The module is foreign code
//! in this process that blocks and that nothing can interrupt: it runs on threads of the backend's own,
//! each with a session. A thread that hangs is left behind and replaced; after a few the backend has
//! failed. Nothing waits for such a thread, not even the end of the process.

mod backend;
mod connection;
mod error;
mod keys;
mod module;
mod object;
mod settings;
mod signer;
mod token;
mod workers;

pub use settings::{Pkcs11Settings, TokenName};
