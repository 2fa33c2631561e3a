//! What AWS' errors mean.

use std::error::Error;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use kms_backend::{BackendError, Failure};
use kms_backend_remote::{NewLogin, is_distrust};

/// An error, and whether it is that there are no credentials, or that they are not accepted.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: BackendError,
    pub(crate) by_credentials: bool,
}

impl Refusal {
    /// The same where there are other credentials now.
    pub(crate) fn with_new_login(self) -> Self {
        let failure = Failure::because(self.error.to_string(), NewLogin);
        Self { error: BackendError::Denied(failure), ..self }
    }
}

impl From<BackendError> for Refusal {
    fn from(error: BackendError) -> Self {
        Self { error, by_credentials: false }
    }
}

/// The error of the service for one of the SDK, met when doing `what`: `can't sign with key …`.
pub(crate) fn refusal<E>(what: &str, error: SdkError<E, HttpResponse>) -> Refusal
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let SdkError::ServiceError(refused) = error else {
        let is_made = !matches!(error, SdkError::ConstructionFailure(_));
        let cause = error.into_source().unwrap_or_else(|error| Box::new(error));
        let error = match is_made {
            // No answer, too late an answer, or one that isn't AWS'.
            true => unanswered(what, cause),
            false => BackendError::Misconfigured(Failure::because(what, cause)),
        };
        return error.into();
    };
    let status = refused.raw().status().as_u16();
    spoken(what, refused.err().code(), status, refused.err().message())
}

/// What it means that there is no answer.
pub(crate) fn unanswered(
    what: impl Into<String>,
    cause: impl Into<Box<dyn Error + Send + Sync>>,
) -> BackendError {
    let (what, cause) = (what.into(), cause.into());
    if is_distrust(&*cause) {
        let what = format!("{what}: the server's certificate is not believed");
        return BackendError::Misconfigured(Failure::because(what, cause));
    }
    BackendError::Unavailable(Failure::because(what, cause))
}

/// The same for an error in AWS' own words.
pub(crate) fn spoken(
    what: &str,
    code: Option<&str>,
    status: u16,
    message: Option<&str>,
) -> Refusal {
    let code = code.unwrap_or("no error code");
    if is_about_credentials(code) {
        // Its message may repeat the request with its token.
        let text = format!("{what}: AWS doesn't accept the credentials ({code})");
        return Refusal { error: BackendError::Denied(Failure::new(text)), by_credentials: true };
    }
    let said = message.unwrap_or("nothing else");
    let failure = Failure::new(format!("{what}: AWS says {code} ({status}): {said}"));
    classified(code, status, failure).into()
}

/// By AWS' name for the error and the status of HTTP.
fn classified(code: &str, status: u16, failure: Failure) -> BackendError {
    match code {
        "NotFoundException" => BackendError::NotFound(failure),
        "AlreadyExistsException" => BackendError::AlreadyExists(failure),
        "AccessDeniedException" | "DisabledException" | "KMSInvalidStateException" => {
            BackendError::Denied(failure)
        }
        // What is to be decrypted is another key's, was changed, or is bound to something else.
        "InvalidCiphertextException" | "IncorrectKeyException" => {
            BackendError::WrongSecret(failure)
        }
        _ if is_throttling(code) => BackendError::Throttled { failure, retry_after: None },
        "KeyUnavailableException"
        | "KMSInternalException"
        | "DependencyTimeoutException"
        | "ServiceUnavailable"
        | "InternalFailure" => BackendError::Unavailable(failure),
        _ => match status {
            429 => BackendError::Throttled { failure, retry_after: None },
            403 => BackendError::Denied(failure),
            400..=499 => BackendError::Misconfigured(failure),
            _ => BackendError::Unavailable(failure),
        },
    }
}

pub(crate) fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException"
            | "Throttling"
            | "LimitExceededException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
    )
}

fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_that_of_the_code_and_else_of_the_status() {
        let class =
            |code, status| kms_backend_remote::class(&classified(code, status, Failure::new("x")));
        for (code, status, expected) in [
            ("AccessDeniedException", 400, "denied"),
            ("NotFoundException", 400, "not_found"),
            ("AlreadyExistsException", 400, "already_exists"),
            ("DisabledException", 400, "denied"),
            ("InvalidCiphertextException", 400, "wrong_secret"),
            ("IncorrectKeyException", 400, "wrong_secret"),
            ("KMSInvalidStateException", 400, "denied"),
            ("ThrottlingException", 400, "throttled"),
            ("LimitExceededException", 400, "throttled"),
            ("KMSInternalException", 500, "unavailable"),
            ("KeyUnavailableException", 500, "unavailable"),
            ("ValidationException", 400, "misconfigured"),
            ("Whatever", 403, "denied"),
            ("Whatever", 429, "throttled"),
            ("Whatever", 503, "unavailable"),
            ("Whatever", 200, "unavailable"),
        ] {
            assert_eq!(class(code, status), expected, "{code} {status}");
        }
        assert!(is_about_credentials("UnrecognizedClientException"));
        assert!(!is_about_credentials("AccessDeniedException"));
    }
}
