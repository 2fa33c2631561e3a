//! Keys in a PKCS#11 token – an HSM, a smart card, SoftHSM2 – as a backend of the key management service.
//!
//! Private keys are made or imported there, sensitive and not extractable, and never leave. The module is foreign code
//! in this process that blocks and that nothing can interrupt: it runs on threads of the backend's own,
//! each with a session. A thread that hangs is left behind and replaced; after a few the backend has
//! failed. Nothing waits for such a thread, not even the end of the process.
//!
//! With the feature `envelope`, an AES key in a token opens a keystore (`Pkcs11Unlock`), for the key types that
//! tokens don't have.

mod attempt;
mod backend;
mod candidate;
mod connection;
#[cfg(feature = "envelope")]
mod envelope;
mod error;
mod import;
mod keys;
mod leftovers;
mod make;
mod module;
mod named;
mod object;
mod pair;
mod public;
mod refused;
mod rivals;
mod settings;
mod shared;
mod signer;
mod token;
mod visits;
mod workers;
#[cfg(feature = "envelope")]
mod wrapping;

#[cfg(feature = "envelope")]
pub use envelope::Pkcs11Unlock;
pub use named::KeyObject;
pub use settings::{Pkcs11Settings, TokenName};
