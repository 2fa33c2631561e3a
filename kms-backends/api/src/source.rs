//! From the place of a secret to a key.

use kms_keys::{KeyError, KeyType, SecretKey};
use kms_secrets::{DecodedSecret, SecretSource, SourceError};

use crate::{BackendError, Failure};

/// The PEM label of a plain PKCS#8 key (RFC 7468, section 10).
const PKCS8: &str = "PRIVATE KEY";

/// Reads the secret that `source` points at – 32 bytes, or a plain PKCS#8 document – and makes a key of it.
/// Blocks on file I/O. Call it on a stack that is wiped ([`on_wiped_stack`](kms_secrets::on_wiped_stack)).
///
/// # Errors
/// [`BackendError`], which names the source: [`NotFound`](BackendError::NotFound),
/// [`Denied`](BackendError::Denied), [`Unavailable`](BackendError::Unavailable) or
/// [`Misconfigured`](BackendError::Misconfigured) when it can't be read, [`Corrupt`](BackendError::Corrupt) or
/// [`WrongSecret`](BackendError::WrongSecret) for what is no key of this type.
pub fn read_key(source: &SecretSource, key_type: KeyType) -> Result<SecretKey, BackendError> {
    let key = match source.read().map_err(|cause| unreadable(key_type, cause))? {
        DecodedSecret::Bytes(bytes) => SecretKey::from_bytes(key_type, bytes.expose()),
        DecodedSecret::Pem { label, der } if label == PKCS8 => {
            SecretKey::from_pkcs8_der(key_type, der.expose())
        }
        DecodedSecret::Pem { label, .. } => return Err(wrong_label(&label, key_type, source)),
    };
    key.map_err(|cause| no_key(key_type, source, cause))
}

fn unreadable(key_type: KeyType, cause: SourceError) -> BackendError {
    let class = match &cause {
        SourceError::Missing { .. } | SourceError::Unset { .. } => BackendError::NotFound,
        SourceError::Unreadable { cause, .. }
            if cause.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            BackendError::Denied
        }
        SourceError::Unreadable { .. } => BackendError::Unavailable,
        SourceError::Empty { .. }
        | SourceError::Decode { .. }
        | SourceError::Changed { .. }
        | SourceError::Shield { .. } => BackendError::Corrupt,
        _ => BackendError::Misconfigured,
    };
    class(Failure::because(format!("no {key_type} secret"), cause))
}

fn no_key(key_type: KeyType, source: &SecretSource, cause: KeyError) -> BackendError {
    let class = match &cause {
        KeyError::WrongAlgorithm { .. } | KeyError::PublicKeyGiven | KeyError::Encrypted => {
            BackendError::WrongSecret
        }
        KeyError::NoDocumentForm(_) => BackendError::Misconfigured,
        _ => BackendError::Corrupt,
    };
    class(Failure::because(format!("{source} holds no {key_type} key"), cause))
}

fn wrong_label(label: &str, key_type: KeyType, source: &SecretSource) -> BackendError {
    let advice = match label {
        "PUBLIC KEY" => "a public key where the private one is due",
        "ENCRYPTED PRIVATE KEY" => "an encrypted key; this backend reads plain ones",
        "EC PRIVATE KEY" => "a SEC 1 key; `openssl pkcs8 -topk8 -nocrypt` makes PKCS#8 of it",
        _ => "something else",
    };
    BackendError::WrongSecret(Failure::new(format!(
        "{source} holds no {key_type} key in PKCS#8 PEM (PRIVATE KEY), but {advice}"
    )))
}
