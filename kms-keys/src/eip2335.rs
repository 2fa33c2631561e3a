//! EIP-2335: a BLS12-381 key in a JSON document, encrypted under a password. What validators of
//! Ethereum keep their keys in.

mod cipher;
mod document;
mod error;
mod json;
mod keystore;
mod uuid;

pub use error::Eip2335Error;
pub use keystore::{Eip2335Kdf, Eip2335Keystore};
