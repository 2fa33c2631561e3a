//! An example node: three services that sign through the key management service, one that
//! checks everything with public keys alone, and one that shows how the node is.
//!
//! - `identity` (Ed25519) signs the node record, and agrees on a session key with a second identity;
//! - `proposer` (secp256k1) signs a block header in every slot;
//! - `attesters` (BLS12-381) attest to every block, in one aggregate signature;
//! - `verifier` never talks to the key management service;
//! - `observe`, where the settings have it, shows metrics, health and readiness over HTTP.
//!
//! [`node`] is where the node is put together, [`running`] starts and stops it.

pub mod attesters;
pub mod block;
pub mod demo;
pub mod event;
mod http;
pub mod identity;
pub mod node;
pub mod observe;
mod pages;
pub mod proposer;
pub mod record;
pub mod refusal;
pub mod running;
pub mod settings;
pub mod verifier;
pub mod yaml;

/// Keeps the README's example compiling.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
