//! What can go wrong with a path, a seed or a mnemonic. No error holds any part of a secret.

use thiserror::Error;

use crate::{KeyError, KeyType};

/// Why text is no derivation path. Steps count from 1, from behind the `m`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DerivationPathError {
    /// The text does not begin with `m/`.
    #[error("a derivation path begins with m/, as in m/44'/60'/0'/0")]
    NoMaster,
    /// Nothing follows the `m`.
    #[error("a derivation path has at least one step behind the m")]
    NoSteps,
    /// More steps than any standard asks for.
    #[error("a derivation path has at most {most} steps")]
    TooManySteps {
        /// So many are allowed.
        most: usize,
    },
    /// A step is not a plain decimal number: empty, with a sign, a space or a leading zero.
    #[error("step {step} is not a plain decimal number with an optional ' behind")]
    NotANumber {
        /// Which step.
        step: usize,
    },
    /// A hardened step has a number of 2^31 or more, or any step one of 2^32 or more.
    #[error("the number of step {step} is too large")]
    TooLarge {
        /// Which step.
        step: usize,
    },
}

/// Why no key was derived. Steps count from 1, from behind the `m`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DerivationError {
    /// The seed is too short or too long: for EIP-2333 at least 32 bytes, else at least 16; at most 64.
    #[error("expected a seed of {least} to 64 bytes, got {got}")]
    WrongSeedLength {
        /// The fewest bytes that are allowed.
        least: usize,
        /// The bytes that were given.
        got: usize,
    },
    /// SLIP-0010 derives Ed25519 keys along hardened steps only.
    #[error("step {step} must be hardened: ed25519 keys have no other (SLIP-0010)")]
    NotHardened {
        /// Which step.
        step: usize,
    },
    /// EIP-2333 knows no hardened steps.
    #[error("step {step} must not be hardened: bls12-381 keys have no such step (EIP-2333)")]
    Hardened {
        /// Which step.
        step: usize,
    },
    /// BIP-32 keeps the numbers from 2^31 on for hardened steps.
    #[error("the number of step {step} is not below 2147483648, as {key_type} keys need")]
    IndexTooLarge {
        /// Which step.
        step: usize,
        /// The type of the key that was asked for.
        key_type: KeyType,
    },
    /// This path leads to no key, which happens once in 2^127 times. BIP-32 says to take the next.
    #[error("no key lies on this path; take the next number")]
    NoKeyOnPath,
    /// What was derived is no key: the machine miscalculated.
    #[error("what was derived is no key")]
    NotAKey(#[source] KeyError),
}

/// Why a mnemonic was not made or not read. No error says a word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MnemonicError {
    /// The mnemonic is not UTF-8 text.
    #[error("the mnemonic is not UTF-8 text")]
    NotUtf8,
    /// The passphrase is not UTF-8 text.
    #[error("the passphrase is not UTF-8 text")]
    PassphraseNotUtf8,
    /// BIP-39 has mnemonics of 12, 15, 18, 21 and 24 words.
    #[error("expected 12, 15, 18, 21 or 24 words, got {got}")]
    WrongWordCount {
        /// The words that were given or asked for.
        got: usize,
    },
    /// A word is not in the English list of BIP-39, which is all in lower case.
    #[error("word {position} is not in the English word list of BIP-39")]
    UnknownWord {
        /// Which word, counted from 1.
        position: usize,
    },
    /// The words are known, but one of them is wrong, or two are swapped.
    #[error("the checksum does not fit: a word is wrong or out of place")]
    WrongChecksum,
    /// BIP-39 has entropy of 16, 20, 24, 28 and 32 bytes.
    #[error("expected 16, 20, 24, 28 or 32 bytes of entropy, got {got}")]
    WrongEntropyLength {
        /// The bytes that were given.
        got: usize,
    },
    /// The system gave no randomness.
    #[error("the system's randomness is unavailable")]
    RandomnessUnavailable(#[source] getrandom::Error),
}
