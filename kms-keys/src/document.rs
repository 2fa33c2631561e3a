//! What the two kinds of key document, PKCS#8 and SPKI, have in common: the PEM text around them, the
//! outline by which they are told apart, and the names of algorithms.

use kms_secrets::SecretBytes;
use pkcs8::AlgorithmIdentifierRef;
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use pkcs8::der::{Decode, Reader, SliceReader, Tag, Tagged};

use crate::{KeyError, KeyType};

/// RFC 8410.
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// RFC 5480: any elliptic curve; the parameters name it.
pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// SEC 2, appendix A.2.1.
pub(crate) const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");

/// The label of PEM text around plain PKCS#8.
pub(crate) const PRIVATE_KEY: &str = "PRIVATE KEY";
/// The label of PEM text around encrypted PKCS#8.
pub(crate) const ENCRYPTED_PRIVATE_KEY: &str = "ENCRYPTED PRIVATE KEY";
/// The label of PEM text around SPKI.
pub(crate) const PUBLIC_KEY: &str = "PUBLIC KEY";

/// Labels of PEM text that are met where a key is due, to be named in errors. Only these are: another
/// label could be anything.
const OTHER_LABELS: [&str; 6] = [
    PRIVATE_KEY,
    PUBLIC_KEY,
    "EC PRIVATE KEY",
    "RSA PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "CERTIFICATE",
];

/// What a DER document is, by its outline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outline {
    Private,
    EncryptedPrivate,
    Public,
}

/// Tells the three kinds of document apart, each a sequence, by their first two elements.
pub(crate) fn outline(der: &[u8]) -> Result<Outline, KeyError> {
    let malformed = |_| KeyError::MalformedDer;
    let mut reader = SliceReader::new(der).map_err(malformed)?;
    let outer = AnyRef::decode(&mut reader).map_err(malformed)?;
    if outer.tag() != Tag::Sequence {
        return Err(KeyError::MalformedDer);
    }
    if !reader.is_finished() {
        return Err(KeyError::TrailingBytes);
    }
    let mut elements = SliceReader::new(outer.value()).map_err(malformed)?;
    let mut next_tag = || AnyRef::decode(&mut elements).map(|any| any.tag()).map_err(malformed);
    match (next_tag()?, next_tag()?) {
        (Tag::Integer, Tag::Sequence) => Ok(Outline::Private),
        (Tag::Sequence, Tag::OctetString) => Ok(Outline::EncryptedPrivate),
        (Tag::Sequence, Tag::BitString) => Ok(Outline::Public),
        _ => Err(KeyError::MalformedDer),
    }
}

/// Refuses a document whose algorithm is not the one of `key_type`.
pub(crate) fn check_algorithm(
    key_type: KeyType,
    algorithm: AlgorithmIdentifierRef<'_>,
) -> Result<(), KeyError> {
    let curve = algorithm.parameters.map(|any| any.decode_as::<ObjectIdentifier>());
    let (expected, fits) = match key_type {
        KeyType::Ed25519 => ("Ed25519 (1.3.101.112)", algorithm.oid == ED25519),
        KeyType::Secp256k1 => (
            "secp256k1 (1.3.132.0.10)",
            algorithm.oid == EC_PUBLIC_KEY && curve == Some(Ok(SECP256K1)),
        ),
        KeyType::Bls12381 => return Err(KeyError::NoDocumentForm(key_type)),
    };
    if fits {
        // RFC 8410, section 3: Ed25519 has no parameters.
        let spurious = key_type == KeyType::Ed25519 && curve.is_some();
        return if spurious { Err(KeyError::MalformedDer) } else { Ok(()) };
    }
    let found = match curve {
        Some(Ok(curve)) if algorithm.oid == EC_PUBLIC_KEY => curve,
        _ => algorithm.oid,
    };
    Err(KeyError::WrongAlgorithm { expected, found: found.to_string() })
}

/// The document inside PEM text (RFC 7468) with this label. Text before the first line of dashes is
/// ignored, white space after the last one too.
pub(crate) fn decode_pem(text: &[u8], label: &'static str) -> Result<SecretBytes, KeyError> {
    let text = text.trim_ascii_end();
    if !ends_at_boundary(text) {
        return Err(KeyError::TrailingBytes);
    }
    let found = pem_rfc7468::decode_label(text).map_err(|_| KeyError::MalformedPem)?;
    if found != label {
        return Err(match (label, found) {
            (PRIVATE_KEY | ENCRYPTED_PRIVATE_KEY, PUBLIC_KEY) => KeyError::PublicKeyGiven,
            (PRIVATE_KEY, ENCRYPTED_PRIVATE_KEY) => KeyError::Encrypted,
            (ENCRYPTED_PRIVATE_KEY, PRIVATE_KEY) => KeyError::NotEncrypted,
            (PUBLIC_KEY, PRIVATE_KEY | ENCRYPTED_PRIVATE_KEY) => KeyError::PrivateKeyGiven,
            _ => KeyError::WrongPemLabel {
                expected: label,
                found: OTHER_LABELS
                    .into_iter()
                    .find(|known| *known == found)
                    .unwrap_or("another label"),
            },
        });
    }
    let mut document = SecretBytes::with_capacity(text.len());
    let len = pem_rfc7468::decode(text, document.buffer_mut())
        .map(|(_, decoded)| decoded.len())
        .map_err(|_| KeyError::MalformedPem)?;
    document.set_len(len);
    Ok(document)
}

/// Whether nothing follows the first closing line, if there is one.
fn ends_at_boundary(text: &[u8]) -> bool {
    const CLOSING: &[u8] = b"-----END ";
    let Some(start) = text.windows(CLOSING.len()).position(|window| window == CLOSING) else {
        return true;
    };
    let rest = &text[start + CLOSING.len()..];
    rest.windows(5).position(|window| window == b"-----").is_none_or(|end| rest.len() == end + 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart() {
        for (der, expected) in [
            (&[0x30, 5, 2, 1, 0, 0x30, 0][..], Ok(Outline::Private)),
            (&[0x30, 4, 0x30, 0, 4, 0], Ok(Outline::EncryptedPrivate)),
            (&[0x30, 5, 0x30, 0, 3, 1, 0], Ok(Outline::Public)),
            (&[0x30, 5, 2, 1, 0, 4, 0], Err(KeyError::MalformedDer)),
            (&[0x30, 2, 2, 1], Err(KeyError::MalformedDer)),
            (&[0x30, 0], Err(KeyError::MalformedDer)),
            (&[4, 0], Err(KeyError::MalformedDer)),
            (&[], Err(KeyError::MalformedDer)),
            (&[0x30, 5, 2, 1, 0, 0x30, 0, 0], Err(KeyError::TrailingBytes)),
        ] {
            assert_eq!(outline(der), expected, "{der:02x?}");
        }
    }

    #[test]
    fn pem_text_is_read_with_white_space_and_remarks_around() {
        for text in [
            "-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----",
            "a remark\n-----BEGIN PUBLIC KEY-----\r\nAQID\r\n-----END PUBLIC KEY-----\r\n\r\n",
        ] {
            assert_eq!(decode_pem(text.as_bytes(), PUBLIC_KEY).unwrap().expose(), &[1, 2, 3]);
        }
    }

    #[test]
    fn other_pem_text_is_refused() {
        for (text, expected) in [
            ("", KeyError::MalformedPem),
            ("-----BEGIN PUBLIC KEY-----\nAQID\n", KeyError::MalformedPem),
            ("-----BEGIN PUBLIC KEY-----\nAQ!D\n-----END PUBLIC KEY-----", KeyError::MalformedPem),
            (
                "-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\nmore",
                KeyError::TrailingBytes,
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----",
                KeyError::WrongPemLabel { expected: PUBLIC_KEY, found: "CERTIFICATE" },
            ),
            (
                "-----BEGIN SOMETHING-----\nAQID\n-----END SOMETHING-----",
                KeyError::WrongPemLabel { expected: PUBLIC_KEY, found: "another label" },
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----",
                KeyError::PrivateKeyGiven,
            ),
        ] {
            assert_eq!(decode_pem(text.as_bytes(), PUBLIC_KEY).unwrap_err(), expected, "{text}");
        }
    }
}
