//! Secrets on their way to somebody else and back, in memory that is wiped.

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use kms_backend::{BackendError, Failure};
use kms_secrets::{SecretBytes, on_wiped_stack};

/// The secret as a request's part, which is wiped when the last request with it is dropped.
#[must_use]
pub fn wiped(secret: SecretBytes) -> Bytes {
    struct Owner(SecretBytes);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }

    Bytes::from_owner(Owner(secret))
}

/// The secret as base64 text with padding (RFC 4648, section 4).
///
/// # Errors
/// [`BackendError::Misconfigured`], for more than the memory of this machine could hold.
pub fn to_base64(secret: &[u8]) -> Result<SecretBytes, BackendError> {
    let mut text = SecretBytes::with_capacity(Base64::encoded_len(secret));
    let len = on_wiped_stack(|| Base64::encode(secret, text.buffer_mut()).map(str::len));
    text.set_len(len.map_err(|_| {
        BackendError::Misconfigured(Failure::new("the secret is too long for base64"))
    })?);
    Ok(text)
}

/// The secret that [`to_base64`] gave as text. `what` is said to go wrong where it is none.
///
/// # Errors
/// [`BackendError::Corrupt`].
pub fn from_base64(text: &str, what: &str) -> Result<SecretBytes, BackendError> {
    let mut secret = SecretBytes::with_capacity(text.len());
    let len = on_wiped_stack(|| Base64::decode(text, secret.buffer_mut()).map(<[u8]>::len));
    secret.set_len(len.map_err(|_| {
        BackendError::Corrupt(Failure::new(format!("{what}: what it gave is no base64")))
    })?);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_the_secret() {
        assert_eq!(wiped(SecretBytes::from_slice(b"secret"))[..], *b"secret");
    }

    #[test]
    fn base64_is_read_back_and_other_text_is_refused() {
        for (secret, text) in [(&b""[..], ""), (b"\xff", "/w=="), (b"abc", "YWJj")] {
            assert_eq!(to_base64(secret).unwrap().expose(), text.as_bytes());
            assert_eq!(from_base64(text, "it fails").unwrap().expose(), secret);
        }
        for text in ["YWJ", "YWJj\n", "Y*Jj"] {
            let refused = from_base64(text, "it fails").unwrap_err();
            assert!(matches!(refused, BackendError::Corrupt(_)), "{refused:?}");
            assert_eq!(refused.to_string().matches(text).count(), 0, "{refused}");
        }
    }
}
