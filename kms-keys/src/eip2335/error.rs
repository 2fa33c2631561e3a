//! What can go wrong with an EIP-2335 keystore. No error repeats what the document says.

use thiserror::Error;

use crate::KeyError;

/// Why a keystore was not read, not decrypted or not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Eip2335Error {
    /// The document is too large to be a keystore.
    #[error("a keystore has at most {most} bytes, got {got}")]
    TooLarge {
        /// The bytes that are allowed.
        most: usize,
        /// The bytes that were given.
        got: usize,
    },
    /// The document is not JSON, or has something else where a field of a keystore is due.
    #[error("not an EIP-2335 keystore in JSON: line {line}, column {column}")]
    Malformed {
        /// Where reading stopped, counted from 1.
        line: usize,
        /// Where reading stopped, counted from 1; 0 if there is nothing to read.
        column: usize,
    },
    /// A field is missing.
    #[error("field {field} is missing")]
    Missing {
        /// The field, in dotted form.
        field: &'static str,
    },
    /// A field has a value that is not allowed or not supported.
    #[error("field {field}: expected {expected}")]
    BadValue {
        /// The field, in dotted form.
        field: &'static str,
        /// What is allowed there.
        expected: &'static str,
    },
    /// Decrypting would take more time or memory than any honest document asks for, or the cost makes
    /// no sense. Nothing was computed.
    #[error("field crypto.kdf.params: expected {expected}")]
    CostRefused {
        /// The costs that are borne.
        expected: &'static str,
    },
    /// The public key in the document is none.
    #[error("field pubkey is not a public key")]
    BadPublicKey(#[source] KeyError),
    /// The password is not UTF-8 text.
    #[error("the password is not UTF-8 text")]
    PasswordNotUtf8,
    /// The checksum does not fit: the password is another, or the document was damaged, which can't be
    /// told apart.
    #[error("wrong password, or the keystore is damaged")]
    WrongPassword,
    /// What was decrypted is no BLS12-381 key.
    #[error("what the keystore holds is no key")]
    NotAKey(#[source] KeyError),
    /// The document names a public key that is not the one of its private key.
    #[error("the public key in the keystore does not belong to the private key")]
    PublicKeyMismatch,
    /// The system gave no randomness.
    #[error("the system's randomness is unavailable")]
    RandomnessUnavailable(#[source] getrandom::Error),
}
