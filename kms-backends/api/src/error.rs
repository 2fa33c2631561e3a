//! What can go wrong in a backend, by class.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::Operation;

/// Why a backend couldn't do what it was asked. The class decides what a caller can do about it;
/// the text says what happened, where, and what was expected.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackendError {
    /// There is no such key, or nothing where its secret should be.
    NotFound(Failure),
    /// There is a key already, and it isn't the one that was asked for.
    AlreadyExists(Failure),
    /// The backend, or the system below it, doesn't permit it.
    Denied(Failure),
    /// A secret is there and is the wrong one: another key type, a wrong passphrase or PIN.
    WrongSecret(Failure),
    /// This backend can't do that to any key.
    Unsupported(Operation),
    /// Too many requests at once.
    Throttled {
        /// What happened.
        failure: Failure,
        /// When to try again, if the backend said so.
        retry_after: Option<Duration>,
    },
    /// The backend can't be reached, or not now.
    Unavailable(Failure),
    /// What is stored is damaged.
    Corrupt(Failure),
    /// The settings, or what they point at, don't fit.
    Misconfigured(Failure),
}

/// What happened, and because of what. Never holds any part of a secret.
pub struct Failure {
    what: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure described by `what`.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: None }
    }

    /// A failure described by `what` with another error below it.
    pub fn because(
        what: impl Into<String>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { what: what.into(), cause: Some(cause.into()) }
    }
}

/// Shows an error with all its causes in one line: `what: because: because`.
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl BackendError {
    /// Whether the same request can succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable(_))
    }

    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Unsupported(_) => None,
            Self::NotFound(failure)
            | Self::AlreadyExists(failure)
            | Self::Denied(failure)
            | Self::WrongSecret(failure)
            | Self::Throttled { failure, .. }
            | Self::Unavailable(failure)
            | Self::Corrupt(failure)
            | Self::Misconfigured(failure) => Some(failure),
        }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(operation) => write!(f, "this backend can't {operation} keys"),
            other => other.failure().map_or(Ok(()), |failure| failure.fmt(f)),
        }
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure().and_then(Error::source)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("what", &self.what).field("cause", &self.cause).finish()
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_is_retryable() {
        let failure = || Failure::new("x");
        assert!(BackendError::Unavailable(failure()).is_retryable());
        assert!(BackendError::Throttled { failure: failure(), retry_after: None }.is_retryable());
        for error in [
            BackendError::NotFound(failure()),
            BackendError::AlreadyExists(failure()),
            BackendError::Denied(failure()),
            BackendError::WrongSecret(failure()),
            BackendError::Unsupported(Operation::Rotate),
            BackendError::Corrupt(failure()),
            BackendError::Misconfigured(failure()),
        ] {
            assert!(!error.is_retryable(), "{error:?}");
        }
    }

    #[test]
    fn the_cause_is_the_source() {
        let error = BackendError::Denied(Failure::because("no entry", fmt::Error));
        assert_eq!(error.to_string(), "no entry");
        assert!(error.source().is_some_and(|cause| cause.is::<fmt::Error>()));
        assert_eq!(ErrorChain(&error).to_string(), format!("no entry: {}", fmt::Error));
    }
}
