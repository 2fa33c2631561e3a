//! What a request can be answered with instead of what it asked for.

use std::time::Duration;

use kms_backend::{BackendError, Operation};
use kms_keys::{KeyId, KeyIdError, KeyType, OperatorError, SigningScheme};
use thiserror::Error;

use crate::Caller;

/// Why a request got no answer. Three classes:
///
/// - *not accepted* – [`Stopped`](Self::Stopped), [`Overloaded`](Self::Overloaded),
///   [`DeadlineExceeded`](Self::DeadlineExceeded), [`TooLarge`](Self::TooLarge): nothing was
///   changed;
/// - *answer lost* – [`AnswerLost`](Self::AnswerLost): the outcome is unknown, so don't blindly
///   repeat what creates something;
/// - *the operation's own* – all others.
///
/// No variant holds any part of a secret or of a message to be signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KmsError {
    /// The service is stopped, or was stopped before it came to this request.
    #[error("the key management service is stopped")]
    Stopped,
    /// Too much is waiting already.
    #[error("the key management service is overloaded; try again in {retry_after:?}")]
    Overloaded {
        /// About how long what is waiting will take.
        retry_after: Duration,
    },
    /// The request's time was over before there was an answer. Nothing was changed; a signature may
    /// have been made and thrown away.
    #[error("the request's deadline has passed")]
    DeadlineExceeded,
    /// More than the service's limits allow.
    #[error("{what} is too large: {found}, expected at most {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The request was accepted and its answer won't come: whether it took effect is unknown.
    #[error("the answer was lost; whether the request took effect is unknown")]
    AnswerLost,
    /// No key has this id, or not this version of it.
    #[error("there is no key {id}{}", version.map_or(String::new(), |v| format!(" version {v}")))]
    NotFound {
        /// The id.
        id: KeyId,
        /// The version, if one was asked for.
        version: Option<u32>,
    },
    /// The key is of another type.
    #[error("key {id} is of type {found}, expected {expected}")]
    TypeMismatch {
        /// The key's id.
        id: KeyId,
        /// The type that was asked for, or that the operation needs.
        expected: KeyType,
        /// The key's type.
        found: KeyType,
    },
    /// The key's settings don't list the scheme.
    #[error("key {id} may not sign under {scheme}; its settings list what it may")]
    SchemeNotAllowed {
        /// The key's id.
        id: KeyId,
        /// The scheme that was asked for.
        scheme: SigningScheme,
    },
    /// The key's settings don't list the service.
    #[error("service {caller} may not use key {id}; the key's settings list who may")]
    CallerNotAllowed {
        /// The key's id.
        id: KeyId,
        /// Who asked.
        caller: Caller,
    },
    /// The key is disabled.
    #[error("key {id} is disabled")]
    Disabled {
        /// The key's id.
        id: KeyId,
    },
    /// The key is to be destroyed and doesn't sign any more.
    #[error("key {id} is scheduled for deletion")]
    PendingDeletion {
        /// The key's id.
        id: KeyId,
    },
    /// The key's backend can't do that.
    #[error("the backend of key {id} can't {operation} keys")]
    Unsupported {
        /// The key's id.
        id: KeyId,
        /// What was asked for.
        operation: Operation,
    },
    /// The node was put together without such an operator.
    #[error("there is no operator {name:?} in this node")]
    UnknownOperator {
        /// The name that was asked for; no more than its first 64 characters.
        name: String,
    },
    /// The operator refused, or failed.
    #[error("the operator failed")]
    Operator(#[source] OperatorError),
    /// What was to be signed, or signed with, is not what the operation takes.
    #[error("invalid input: {expected}")]
    InvalidInput {
        /// What was expected, and what was found.
        expected: String,
    },
    /// The text given as a key id is none.
    #[error("invalid key id")]
    InvalidKeyId(#[from] KeyIdError),
    /// The key's backend failed.
    #[error(transparent)]
    Backend(BackendError),
    /// A bug in a signer, a backend or the service. The request was given up; others go on.
    #[error("internal error; see the node's log")]
    Internal,
}

impl KmsError {
    /// Whether the same request can succeed later without anybody changing anything, and can be
    /// repeated without harm.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Stopped | Self::Overloaded { .. } | Self::DeadlineExceeded => true,
            Self::Backend(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// A backend's answer to an operation on the key `id`.
    pub(crate) fn from_backend(id: &KeyId, error: BackendError) -> Self {
        match error {
            BackendError::Unsupported(operation) => Self::Unsupported { id: id.clone(), operation },
            other => Self::Backend(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use kms_backend::Failure;

    use super::*;

    #[test]
    fn what_was_not_accepted_can_be_tried_again_unless_it_is_too_large() {
        assert!(KmsError::Stopped.is_retryable());
        assert!(KmsError::Overloaded { retry_after: Duration::ZERO }.is_retryable());
        assert!(KmsError::DeadlineExceeded.is_retryable());
        assert!(!KmsError::TooLarge { what: "x", found: 2, limit: 1 }.is_retryable());
    }

    #[test]
    fn a_lost_answer_is_not_blindly_repeated() {
        assert!(!KmsError::AnswerLost.is_retryable());
        assert!(!KmsError::Internal.is_retryable());
    }

    #[test]
    fn the_backend_says_whether_its_failure_passes() {
        let unavailable = BackendError::Unavailable(Failure::new("x"));
        assert!(KmsError::Backend(unavailable).is_retryable());
        assert!(!KmsError::Backend(BackendError::Denied(Failure::new("x"))).is_retryable());
    }

    #[test]
    fn a_version_is_named_only_if_one_was_asked_for() {
        let id = KeyId::new("a/b").unwrap();
        let text = |version| KmsError::NotFound { id: id.clone(), version }.to_string();
        assert_eq!(text(None), "there is no key a/b");
        assert_eq!(text(Some(2)), "there is no key a/b version 2");
    }
}
