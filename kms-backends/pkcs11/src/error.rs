//! What a module's return values mean.

use cryptoki::context::Function;
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

/// Whether an object was found and can't be read, since somebody else is just making, changing or
/// destroying it.
pub(crate) fn is_changing(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(RvError::ObjectHandleInvalid, _)
            | Error::Pkcs11(RvError::AttributeValueInvalid, Function::GetAttributeValue)
    )
}

/// Whether it may succeed the next time. SoftHSM2 says so of good templates and objects, too, when another
/// session makes, changes or destroys some at the same moment.
pub(crate) fn may_pass(error: &Error) -> bool {
    is_changing(error)
        || matches!(
            error,
            Error::Pkcs11(RvError::TemplateInconsistent, _)
                | Error::Pkcs11(RvError::MechanismInvalid, Function::EncryptInit)
        )
}

/// The error of the service for one of the module, met when doing `what`.
pub(crate) fn backend_error(what: &str, error: Error) -> BackendError {
    let class: fn(Failure) -> BackendError = match &error {
        Error::Pkcs11(RvError::AttributeValueInvalid, Function::GetAttributeValue) => {
            BackendError::Unavailable
        }
        Error::Pkcs11(value, _) => match value {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
                BackendError::WrongSecret
            }
            // SoftHSM2 says so, too, while another process writes the token's file.
            RvError::UserPinNotInitialized => BackendError::Unavailable,
            RvError::PinLocked
            | RvError::PinExpired
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
            | RvError::AttributeReadOnly
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

/// The error of the service for one met when logging in. Some tokens answer a wrong PIN with a value that says
/// nothing. It must not be tried again then: a token locks after a few wrong ones. One that `never_locks`,
/// SoftHSM2, says of a wrong PIN that it is wrong, and nothing while another process writes the token's file.
pub(crate) fn login_error(what: &str, error: Error, never_locks: bool) -> BackendError {
    let says_nothing = matches!(
        error,
        Error::Pkcs11(
            RvError::GeneralError | RvError::FunctionFailed | RvError::VendorDefined(_),
            _
        )
    );
    if !says_nothing || never_locks {
        return backend_error(what, error);
    }
    let what =
        format!("{what}: the token doesn't say whether the PIN is wrong, so it isn't tried again");
    BackendError::WrongSecret(Failure::because(what, error))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_login_that_fails_for_no_reason_is_not_tried_again() {
        let failed = |value| login_error("no", Error::Pkcs11(value, Function::Login), false);
        for value in [RvError::GeneralError, RvError::FunctionFailed, RvError::PinIncorrect] {
            let refused = failed(value);
            assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
        }
        // It didn't come to the PIN.
        for value in [RvError::DeviceRemoved, RvError::TokenNotPresent, RvError::SessionClosed] {
            assert!(failed(value).is_retryable(), "{value:?}");
        }
        // A token that never locks says of a wrong PIN that it is wrong.
        let failed = |value| login_error("no", Error::Pkcs11(value, Function::Login), true);
        assert!(failed(RvError::GeneralError).is_retryable());
        assert!(matches!(failed(RvError::PinIncorrect), BackendError::WrongSecret(_)));
    }
}
