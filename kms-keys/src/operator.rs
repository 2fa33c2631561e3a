//! Uses of a secret other than signing.

use std::fmt;

use thiserror::Error;

use crate::KeyType;

/// A named piece of code that may use a secret for something other than signing, such as key agreement
/// or a proof. Operators are given to the service where a node is put together; a request names one
/// and can't bring its own.
///
/// An operator computes something from the key. One that hands the key out defeats the purpose.
pub trait Operator: Send + Sync {
    /// The name that requests use.
    fn name(&self) -> &'static str;

    /// The type of the keys it works with.
    fn key_type(&self) -> KeyType;

    /// The most bytes it writes.
    fn max_output(&self) -> usize;

    /// Computes from `key` and `input`, and appends the result to `out`. Whoever calls gives `out` the
    /// room for [`Operator::max_output`] bytes beforehand and wipes it when it is done: a result may be
    /// a secret, and a growing buffer leaves copies. What an operator wrote before it failed is
    /// discarded.
    ///
    /// # Errors
    /// [`OperatorError`]; it holds no part of the key.
    fn run(&self, key: SecretRef<'_>, input: &[u8], out: &mut Vec<u8>)
    -> Result<(), OperatorError>;
}

/// Why an operator gave no result. Holds nothing secret; it goes back to whoever asked and into logs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The key is of a type that the operator does not work with.
    #[error("the operator works with {expected} keys, this is a {got} key")]
    WrongKeyType {
        /// The type that it works with.
        expected: KeyType,
        /// The type of the key.
        got: KeyType,
    },
    /// The input is not what the operator takes.
    #[error("bad input: expected {expected}")]
    InvalidInput {
        /// What the operator takes.
        expected: &'static str,
    },
    /// The operator declines to compute with this input. The reason holds nothing secret.
    #[error("refused: {0}")]
    Refused(String),
}

/// The bytes of a secret key, lent to an [`Operator`] or to a backend that stores them.
///
/// `Debug` shows the key type alone.
#[derive(Clone, Copy)]
pub struct SecretRef<'a> {
    key_type: KeyType,
    bytes: &'a [u8; 32],
}

impl<'a> SecretRef<'a> {
    pub(crate) fn new(key_type: KeyType, bytes: &'a [u8; 32]) -> Self {
        Self { key_type, bytes }
    }

    /// The type of the key.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The 32 secret bytes, in the form in which [`SecretKey::from_bytes`](crate::SecretKey::from_bytes)
    /// takes them: the seed for Ed25519, the big-endian number for secp256k1 and BLS12-381.
    ///
    /// This is the one way out of a key. Whoever calls it has a reason to write beside the call, wipes
    /// every copy, and sends none.
    #[must_use]
    pub fn expose(&self) -> &'a [u8; 32] {
        self.bytes
    }
}

impl fmt::Debug for SecretRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRef").field("key_type", &self.key_type).finish_non_exhaustive()
    }
}
