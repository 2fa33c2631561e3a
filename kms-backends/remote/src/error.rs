//! Classes of errors by name.

use kms_backend::BackendError;

/// The class of an error as records name it, for example `denied`. Says nothing else of it.
#[must_use]
pub fn class(error: &BackendError) -> &'static str {
    match error {
        BackendError::NotFound(_) => "not_found",
        BackendError::AlreadyExists(_) => "already_exists",
        BackendError::Denied(_) => "denied",
        BackendError::WrongSecret(_) => "wrong_secret",
        BackendError::Unsupported(_) => "unsupported",
        BackendError::Throttled { .. } => "throttled",
        BackendError::Unavailable(_) => "unavailable",
        BackendError::Corrupt(_) => "corrupt",
        BackendError::Misconfigured(_) => "misconfigured",
        _ => "other",
    }
}
