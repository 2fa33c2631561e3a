//! What a module's return values mean.

use cryptoki::error::{Error, RvError};
use kms_backend::{BackendError, Failure};

/// Whether another session may do what this one can't: it was closed, its login ended, the token was taken
/// out and may be back, or what was found through it is no longer where it was.
pub(crate) fn is_session_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::UserNotLoggedIn
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::TokenNotPresent
                | RvError::SlotIdInvalid
                | RvError::CryptokiNotInitialized
                // What was found in another session, or before the token was taken out.
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid,
            _
        )
    )
}

/// The error of the service for one of the module, met when doing `what`.
pub(crate) fn backend_error(what: &str, error: Error) -> BackendError {
    let class: fn(Failure) -> BackendError = match &error {
        Error::Pkcs11(value, _) => match value {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
                BackendError::WrongSecret
            }
            RvError::PinLocked
            | RvError::PinExpired
            | RvError::UserPinNotInitialized
            | RvError::UserNotLoggedIn
            | RvError::ActionProhibited
            | RvError::KeyFunctionNotPermitted
            | RvError::SessionReadOnly
            | RvError::TokenWriteProtected => BackendError::Denied,
            RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => BackendError::NotFound,
            RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::CurveNotSupported
            | RvError::FunctionNotSupported
            | RvError::KeyTypeInconsistent
            | RvError::TemplateInconsistent
            | RvError::TemplateIncomplete
            | RvError::DomainParamsInvalid
            | RvError::AttributeValueInvalid
            | RvError::AttributeTypeInvalid
            | RvError::TokenNotRecognized
            | RvError::ArgumentsBad => BackendError::Misconfigured,
            _ => BackendError::Unavailable,
        },
        Error::LibraryLoading(_)
        | Error::MissingSymbol(_)
        | Error::NotSupported
        | Error::NullFunctionPointer
        | Error::NulError(_) => BackendError::Misconfigured,
        _ => BackendError::Corrupt,
    };
    class(Failure::because(what, error))
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn a_wrong_pin_is_not_tried_again_and_a_lost_session_is() {
        let error = |value| Error::Pkcs11(value, Function::Login);
        let wrong = backend_error("can't log in", error(RvError::PinIncorrect));
        assert!(matches!(wrong, BackendError::WrongSecret(_)) && !wrong.is_retryable());
        let removed = error(RvError::DeviceRemoved);
        assert!(is_session_lost(&removed));
        assert!(backend_error("can't sign", removed).is_retryable());
        assert!(!is_session_lost(&error(RvError::PinIncorrect)));
        let unknown = backend_error("can't sign", error(RvError::MechanismInvalid));
        assert!(matches!(unknown, BackendError::Misconfigured(_)));
    }
}
