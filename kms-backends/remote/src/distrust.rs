//! Telling a server that isn't believed from one that is away.

use std::error::Error;
use std::io;

/// Whether an error of a connection with TLS (rustls'), or a cause of it, says that the server isn't
/// believed to be the one: its certificate is of an unknown authority, for another name or out of date.
/// That doesn't pass by itself.
#[must_use]
pub fn is_distrust(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // What an I/O error wraps isn't among its sources.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => is_distrust(inner),
        None => error.source().is_some_and(is_distrust),
    }
}

#[cfg(test)]
mod tests {
    use kms_backend::{BackendError, Failure};
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn a_certificate_that_is_not_believed_is_found_under_what_wraps_it() {
        let wrapped = |error: rustls::Error| {
            let inner = io::Error::other(io::Error::other(error));
            BackendError::Unavailable(Failure::because("no answer", inner))
        };
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(is_distrust(&wrapped(unknown)));
        assert!(!is_distrust(&wrapped(rustls::Error::HandshakeNotComplete)));
        assert!(!is_distrust(&io::Error::from(io::ErrorKind::ConnectionReset)));
    }
}
