//! Keys in the key management service of AWS as a backend of the key management service of a node.
//!
//! Private keys are made there and never leave. A key called `node/identity` is what the alias
//! `alias/kms/node/identity` points at; each version after the first, and then that one too, has an alias
//! of its own ([`AwsSettings::alias_prefix`]). AWS gives an alias to one key alone, so that of those who
//! make the same key at once one is first, and the others take what it made.
//!
//! What AWS did when its answer was lost is found out by reading. A key that nobody knows of is found by
//! its tag and scheduled for deletion, also one that another process left. A key whose alias may only not be
//! seen yet is left until that is certain.
//!
//! With the feature `envelope`, a key of AWS KMS opens a keystore (`AwsUnlock`), for the key types that AWS
//! doesn't have.

mod backend;
mod change;
mod client;
mod credentials;
#[cfg(feature = "envelope")]
mod envelope;
mod error;
mod http;
mod keys;
mod leftover;
mod names;
mod orphan;
mod profile;
mod settings;
mod signer;
mod sts;
#[cfg(feature = "envelope")]
mod wire;

#[cfg(feature = "envelope")]
pub use envelope::AwsUnlock;
pub use settings::{AwsSettings, CredentialSource};
