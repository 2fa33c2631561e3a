//! Whom the connection believes.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use kms_backend::{BackendError, Failure};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// TLS 1.2 and 1.3 with servers that the authorities in the file `ca` vouch for, or those of this machine.
/// Blocks on files.
pub(crate) fn config(ca: Option<&Path>) -> Result<ClientConfig, BackendError> {
    let misconfigured = |what: &str, cause: Box<dyn Error + Send + Sync>| {
        BackendError::Misconfigured(Failure::because(what, cause))
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| misconfigured("TLS can't be set up", cause.into()))?;
    let Some(path) = ca else {
        let config = config.with_native_roots().map_err(|cause| {
            misconfigured("this machine's certificate authorities can't be read", cause.into())
        })?;
        return Ok(config.with_no_client_auth());
    };
    let what = || format!("`tls.ca`: {} can't be read as PEM certificates", path.display());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| misconfigured(&what(), cause.into()))?;
    for certificate in certificates {
        roots.add(certificate).map_err(|cause| misconfigured(&what(), cause.into()))?;
    }
    if roots.is_empty() {
        return Err(misconfigured(&what(), "there is none in it".into()));
    }
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refused = || {
            let error = config(Some(&path)).unwrap_err();
            assert!(matches!(error, BackendError::Misconfigured(_)), "{error:?}");
            assert!(error.to_string().contains("ca.pem"), "{error}");
        };
        refused();
        for content in ["", "-----BEGIN CERTIFICATE-----\nMDA=\n-----END CERTIFICATE-----\n"] {
            fs::write(&path, content).unwrap();
            refused();
        }
        let good = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        fs::write(&path, good.cert.pem()).unwrap();
        config(Some(&path)).unwrap();
    }
}
