//! Keys that are derived from a seed along a path: BIP-32 for secp256k1, SLIP-0010 for Ed25519,
//! EIP-2333 for BLS12-381; and BIP-39, which writes a seed down as words.

mod bip32;
mod eip2333;
mod error;
mod hmac;
mod mnemonic;
mod path;
mod seed;
mod slip10;

pub use error::{DerivationError, DerivationPathError, MnemonicError};
pub use mnemonic::Mnemonic;
pub use path::DerivationPath;
pub use seed::Seed;

/// The bit that marks a hardened step in the numbers that are hashed (BIP-32, SLIP-0010).
const HARDENED: u32 = 1 << 31;
