//! Public keys in SPKI documents (RFC 5280): Ed25519 as in RFC 8410, secp256k1 as in RFC 5480.

use pem_rfc7468::LineEnding;
use pkcs8::AlgorithmIdentifierRef;
use pkcs8::der::Encode;
use pkcs8::der::asn1::{AnyRef, BitStringRef};
use pkcs8::spki::SubjectPublicKeyInfoRef;

use crate::document::{
    EC_PUBLIC_KEY, ED25519, Outline, PUBLIC_KEY, SECP256K1, check_algorithm, decode_pem, outline,
};
use crate::{Ed25519PublicKey, KeyError, KeyType, PublicKey, Secp256k1PublicKey};

impl PublicKey {
    /// Reads an SPKI document (`SubjectPublicKeyInfo`) in DER, of Ed25519 (RFC 8410) or secp256k1 (RFC
    /// 5480, both point forms).
    ///
    /// # Errors
    /// [`KeyError::NoDocumentForm`] for BLS12-381; [`KeyError::WrongAlgorithm`] for a key of another
    /// type; [`KeyError::PrivateKeyGiven`], [`KeyError::TrailingBytes`], [`KeyError::MalformedDer`];
    /// whatever [`PublicKey::from_bytes`] finds wrong with the point.
    pub fn from_spki_der(key_type: KeyType, der: &[u8]) -> Result<Self, KeyError> {
        if key_type == KeyType::Bls12381 {
            return Err(KeyError::NoDocumentForm(key_type));
        }
        match outline(der)? {
            Outline::Public => {}
            Outline::Private | Outline::EncryptedPrivate => {
                return Err(KeyError::PrivateKeyGiven);
            }
        }
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyError::MalformedDer)?;
        check_algorithm(key_type, info.algorithm)?;
        let bytes = info.subject_public_key.as_bytes().ok_or(KeyError::MalformedDer)?;
        Self::from_bytes(key_type, bytes)
    }

    /// Reads an SPKI document as PEM text (`-----BEGIN PUBLIC KEY-----`, RFC 7468).
    ///
    /// # Errors
    /// [`KeyError::MalformedPem`], [`KeyError::WrongPemLabel`], and those of
    /// [`PublicKey::from_spki_der`].
    pub fn from_spki_pem(key_type: KeyType, pem: &str) -> Result<Self, KeyError> {
        if key_type == KeyType::Bls12381 {
            return Err(KeyError::NoDocumentForm(key_type));
        }
        Self::from_spki_der(key_type, decode_pem(pem.as_bytes(), PUBLIC_KEY)?.expose())
    }

    /// The key as an SPKI document in DER. A point of secp256k1 is written uncompressed, which every
    /// reader understands.
    ///
    /// # Errors
    /// [`KeyError::NoDocumentForm`] for BLS12-381.
    pub fn to_spki_der(&self) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Ed25519(key) => ed25519_document(key),
            Self::Secp256k1(key) => secp256k1_document(key),
            Self::Bls12381(_) => Err(KeyError::NoDocumentForm(KeyType::Bls12381)),
        }
    }

    /// The key as an SPKI document in PEM text, with a newline at the end.
    ///
    /// # Errors
    /// [`KeyError::NoDocumentForm`] for BLS12-381.
    pub fn to_spki_pem(&self) -> Result<String, KeyError> {
        pem_rfc7468::encode_string(PUBLIC_KEY, LineEnding::LF, &self.to_spki_der()?)
            .map_err(|_| KeyError::MalformedPem)
    }
}

fn ed25519_document(key: &Ed25519PublicKey) -> Result<Vec<u8>, KeyError> {
    document(AlgorithmIdentifierRef { oid: ED25519, parameters: None }, &key.to_bytes())
}

fn secp256k1_document(key: &Secp256k1PublicKey) -> Result<Vec<u8>, KeyError> {
    let parameters = Some(AnyRef::from(&SECP256K1));
    let algorithm = AlgorithmIdentifierRef { oid: EC_PUBLIC_KEY, parameters };
    document(algorithm, &key.to_uncompressed_bytes())
}

fn document(algorithm: AlgorithmIdentifierRef<'_>, key: &[u8]) -> Result<Vec<u8>, KeyError> {
    BitStringRef::from_bytes(key)
        .and_then(|subject_public_key| {
            SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der()
        })
        .map_err(|_| KeyError::MalformedDer)
}
