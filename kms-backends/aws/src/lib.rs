//! Keys in the key management service of AWS as a backend of the key management service of a node.
//!
//! Private keys are made there and never leave. A key called `node/identity` is what the alias
//! `alias/kms/node/identity` points at; each version after the first, and then that one too, has an alias
//! of its own ([`AwsSettings::alias_prefix`]). AWS gives an alias to one key alone, so that of those who
//! make the same key at once one is first, and the others take what it made.
//!
//! What AWS did when its answer was lost is found out by reading. A key that nobody knows of is found by
//! its tag and scheduled for deletion.

mod backend;
mod change;
mod client;
mod credentials;
mod error;
mod http;
mod keys;
mod leftover;
mod names;
mod profile;
mod settings;
mod signer;
mod sts;

pub use settings::{AwsSettings, CredentialSource};
