//! Private keys in PKCS#8 documents (RFC 5958): Ed25519 as in RFC 8410, secp256k1 as in RFC 5915.

use pkcs8::PrivateKeyInfoRef;
use pkcs8::der::asn1::{BitStringRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{self, Decode, Reader, SliceReader, TagMode, TagNumber};

use crate::document::{Outline, SECP256K1, check_algorithm, outline};
use crate::{KeyError, KeyType};

/// What a PKCS#8 document says about one key. It borrows from the document and copies nothing.
pub(crate) struct PrivateKeyInfo<'a> {
    /// The secret in import form. Its length is not checked.
    pub(crate) secret: &'a [u8],
    /// The public keys that the document claims to be the secret's: one in the outer structure, one in
    /// the inner of secp256k1, often none.
    pub(crate) public_keys: [Option<&'a [u8]>; 2],
}

impl<'a> PrivateKeyInfo<'a> {
    /// Reads a DER document that must hold a plain private key of `key_type`, and nothing behind it.
    pub(crate) fn from_der(key_type: KeyType, der: &'a [u8]) -> Result<Self, KeyError> {
        if key_type == KeyType::Bls12381 {
            return Err(KeyError::NoDocumentForm(key_type));
        }
        let info = plain(der)?;
        check_algorithm(key_type, info.algorithm)?;
        let inner = info.private_key.as_bytes();
        let (secret, inner_public_key) = match key_type {
            KeyType::Secp256k1 => ec_private_key(inner)?,
            KeyType::Ed25519 | KeyType::Bls12381 => (curve_private_key(inner)?, None),
        };
        let outer_public_key = info.public_key.map(whole_bytes).transpose()?;
        Ok(Self { secret, public_keys: [outer_public_key, inner_public_key] })
    }
}

/// The type of the key in a plain document, by its algorithm.
pub(crate) fn plain_algorithm(der: &[u8]) -> Result<KeyType, KeyError> {
    let algorithm = plain(der)?.algorithm;
    match check_algorithm(KeyType::Ed25519, algorithm) {
        Ok(()) => Ok(KeyType::Ed25519),
        Err(KeyError::WrongAlgorithm { found, .. }) => {
            let expected = "Ed25519 (1.3.101.112) or secp256k1 (1.3.132.0.10)";
            check_algorithm(KeyType::Secp256k1, algorithm)
                .map(|()| KeyType::Secp256k1)
                .map_err(|_| KeyError::WrongAlgorithm { expected, found })
        }
        Err(error) => Err(error),
    }
}

fn plain(der: &[u8]) -> Result<PrivateKeyInfoRef<'_>, KeyError> {
    match outline(der)? {
        Outline::Private => {}
        Outline::EncryptedPrivate => return Err(KeyError::Encrypted),
        Outline::Public => return Err(KeyError::PublicKeyGiven),
    }
    PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::MalformedDer)
}

/// `CurvePrivateKey` of RFC 8410, section 7: an octet string within the octet string.
fn curve_private_key(der: &[u8]) -> Result<&[u8], KeyError> {
    <&OctetStringRef>::from_der(der).map(OctetStringRef::as_bytes).map_err(refusal)
}

/// `ECPrivateKey` of RFC 5915, section 3: the secret, and the public key if it is there.
fn ec_private_key(der: &[u8]) -> Result<(&[u8], Option<&[u8]>), KeyError> {
    let mut reader = SliceReader::new(der).map_err(refusal)?;
    let (version, secret, curve, public_key) = reader
        .sequence(|fields| {
            Ok::<_, der::Error>((
                u8::decode(fields)?,
                <&OctetStringRef>::decode(fields)?.as_bytes(),
                fields.context_specific::<ObjectIdentifier>(TagNumber(0), TagMode::Explicit)?,
                fields.context_specific::<BitStringRef<'_>>(TagNumber(1), TagMode::Explicit)?,
            ))
        })
        .map_err(refusal)?;
    if !reader.is_finished() {
        return Err(KeyError::TrailingBytes);
    }
    if version != 1 {
        return Err(KeyError::MalformedDer);
    }
    if let Some(curve) = curve.filter(|curve| *curve != SECP256K1) {
        let expected = "secp256k1 (1.3.132.0.10)";
        return Err(KeyError::WrongAlgorithm { expected, found: curve.to_string() });
    }
    Ok((secret, public_key.map(whole_bytes).transpose()?))
}

fn whole_bytes(bits: BitStringRef<'_>) -> Result<&[u8], KeyError> {
    bits.as_bytes().ok_or(KeyError::MalformedDer)
}

fn refusal(error: der::Error) -> KeyError {
    match error.kind() {
        der::ErrorKind::TrailingData { .. } => KeyError::TrailingBytes,
        _ => KeyError::MalformedDer,
    }
}
