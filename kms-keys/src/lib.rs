//! What a key is: types, names, signing, verifying.
//!
//! Three kinds of key ([`KeyType`]) and eight things to do with them ([`SigningScheme`]). Each kind
//! has types of its own – [`Ed25519SecretKey`], [`Secp256k1SecretKey`], [`Bls12381SecretKey`] and
//! their public keys and signatures – so that a signature of one kind can't be checked with a key of
//! another. Code that learns the kind only when it runs uses [`SecretKey`], [`PublicKey`] and
//! [`Signature`] instead.
//!
//! ```
//! use kms_keys::{KeyType, SecretKey, SigningScheme};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = SecretKey::generate(KeyType::Ed25519)?;
//! let signature = key.sign(SigningScheme::Ed25519, b"a block")?;
//! key.public_key().verify(SigningScheme::Ed25519, b"a block", &signature)?;
//! # Ok(())
//! # }
//! ```
//!
//! Keys come from the system's randomness, from bytes and documents ([`SecretKey`]), from a [`Seed`]
//! along a [`DerivationPath`] – the seed itself from the words of a [`Mnemonic`] – and, for
//! BLS12-381, from an [`Eip2335Keystore`].
//!
//! The crate computes; it reads no files, keeps no settings and waits for nothing. A secret key has
//! no `Clone`, no `Display` and no serialisation. The one way to its bytes is
//! [`SecretKey::expose_secret`] followed by [`SecretRef::expose`], meant for an [`Operator`] and for
//! a backend that stores what it generated.
//!
//! # What is not protected
//!
//! Our own buffers are wiped, and secrets live in heap memory that is wiped when they are dropped; the
//! stack that making, deriving, encrypting or decrypting a key used is wiped too. The libraries underneath
//! keep scalars and nonces on the stack while they sign; they work in constant time, but what they leave
//! there lies there until it is overwritten. So whoever signs with keys that stay keeps them as
//! [`SecretKey::at_rest`] gives them, shielded, and signs with a [`RestingKey`] inside
//! `kms_secrets::Shielded::open`, which wipes the stack. scrypt gives its working memory back to the heap
//! as it is: neither passphrase nor key, but with it passphrases are guessed as cheaply as if scrypt had cost
//! nothing. A program with `kms_secrets::WipingAllocator` has it wiped. A mnemonic's words are looked up in a
//! list, which takes a time that depends on them. Against faults of the machine there are self-tests of new
//! keys and of BIP-340 signatures, no more.

mod bip340;
mod bls12_381;
mod derivation;
mod document;
mod ecdsa;
mod ed25519;
mod eip2335;
mod error;
mod hex;
mod key_id;
mod key_type;
mod normalise;
mod operator;
mod password_kdf;
mod pbes2;
mod private_key_document;
mod private_key_info;
mod public_key;
mod public_key_info;
mod random;
mod resting_key;
mod scheme;
mod secp256k1;
mod secret_key;
mod signature;
mod x25519;

pub use bip340::Bip340Signature;
pub use bls12_381::{Bls12381PublicKey, Bls12381SecretKey, Bls12381Signature, BlsCiphersuite};
pub use derivation::{
    DerivationError, DerivationPath, DerivationPathError, Mnemonic, MnemonicError, Seed,
};
pub use ecdsa::EcdsaSignature;
pub use ed25519::{Ed25519PublicKey, Ed25519SecretKey, Ed25519Signature};
pub use eip2335::{Eip2335Error, Eip2335Kdf, Eip2335Keystore};
pub use error::{AggregateError, KeyError, SignError, SignatureError, VerifyError};
pub use key_id::{KeyId, KeyIdError};
pub use key_type::{KeyType, UnknownKeyType};
pub use operator::{Operator, OperatorError, SecretRef};
pub use public_key::PublicKey;
pub use resting_key::RestingKey;
pub use scheme::{SigningScheme, UnknownSigningScheme};
pub use secp256k1::{Secp256k1PublicKey, Secp256k1SecretKey};
pub use secret_key::SecretKey;
pub use signature::Signature;
pub use x25519::X25519Operator;

/// The example in the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
