//! Private keys written as PKCS#8 documents, plain and encrypted, and read from encrypted ones.

use kms_secrets::{SecretBytes, on_wiped_stack};
use pem_rfc7468::LineEnding;

use crate::document::{ENCRYPTED_PRIVATE_KEY, Outline, PRIVATE_KEY, decode_pem, outline};
use crate::private_key_info::plain_algorithm;
use crate::{KeyError, KeyType, SecretKey, pbes2};

/// RFC 8410, section 7: all of the document but the secret, which follows.
const ED25519_HEAD: [u8; 16] = [
    0x30, 0x2e, // the document
    0x02, 0x01, 0, // its version
    0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, // Ed25519
    0x04, 0x22, 0x04, 0x20, // an octet string within the octet string
];

/// RFC 5958 around RFC 5915: what stands in front of the secret.
const SECP256K1_HEAD: [u8; 33] = [
    0x30, 0x81, 0x84, // the document
    0x02, 0x01, 0, // its version
    0x30, 0x10, // the algorithm
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // an elliptic curve
    0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a, // secp256k1
    0x04, 0x6d, 0x30, 0x6b, // ECPrivateKey within the octet string
    0x02, 0x01, 1, // its version
    0x04, 0x20,
];
/// What stands between the secret and the public key, which is uncompressed.
const SECP256K1_MIDDLE: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0];

impl SecretKey {
    /// The key as a plain PKCS#8 document in PEM text (`-----BEGIN PRIVATE KEY-----`): Ed25519 as in RFC
    /// 8410, secp256k1 as in RFC 5915 with its public key, byte for byte as OpenSSL writes them. Whoever
    /// writes it down, writes the secret down; [`SecretKey::to_encrypted_pkcs8_pem`] does not.
    ///
    /// # Errors
    /// [`KeyError::NoDocumentForm`] for BLS12-381.
    pub fn to_pkcs8_pem(&self) -> Result<SecretBytes, KeyError> {
        let der = self.to_document()?;
        let malformed = |_| KeyError::MalformedPem;
        let len = pem_rfc7468::encoded_len(PRIVATE_KEY, LineEnding::LF, der.expose())
            .map_err(malformed)?;
        let mut pem = SecretBytes::with_capacity(len);
        let len = pem_rfc7468::encode(PRIVATE_KEY, LineEnding::LF, der.expose(), pem.buffer_mut())
            .map_err(malformed)?
            .len();
        pem.set_len(len);
        Ok(pem)
    }

    /// The key as a PKCS#8 document in PEM text (`-----BEGIN ENCRYPTED PRIVATE KEY-----`), encrypted
    /// under `passphrase`, whose bytes are taken as they are: PBES2 of RFC 8018 with scrypt (n = 16384, r
    /// = 8, p = 5) and AES-256-CBC, which OpenSSL 3 reads. Takes 16 MiB and about a tenth of a second. Salt
    /// and initial block are random. The caller wipes its own copy of the passphrase.
    ///
    /// # Errors
    /// [`KeyError::NoDocumentForm`] for BLS12-381; [`KeyError::RandomnessUnavailable`].
    pub fn to_encrypted_pkcs8_pem(&self, passphrase: &[u8]) -> Result<String, KeyError> {
        let der = on_wiped_stack(|| pbes2::encrypt(self.to_document()?.expose(), passphrase))?;
        pem_rfc7468::encode_string(ENCRYPTED_PRIVATE_KEY, LineEnding::LF, &der)
            .map_err(|_| KeyError::MalformedPem)
    }

    /// The key in an encrypted PKCS#8 document in PEM text, under the passphrase with which it was
    /// encrypted: PBES2 with PBKDF2-HMAC-SHA256 or scrypt, and AES-128-CBC or AES-256-CBC, as OpenSSL
    /// writes since version 1.1. The cost that the document asks for is bounded before anything is
    /// derived: scrypt may ask for 512 MiB and a few seconds, PBKDF2 for half a minute. The caller
    /// wipes its own copies.
    ///
    /// The document has no checksum: a wrong passphrase is told by what comes out, which is no document.
    ///
    /// # Errors
    /// [`KeyError::WrongPassphrase`]; [`KeyError::UnsupportedEncryption`]; [`KeyError::CostRefused`];
    /// [`KeyError::NotEncrypted`] for a plain document; those of [`SecretKey::from_pkcs8_pem`].
    pub fn from_encrypted_pkcs8_pem(
        key_type: KeyType,
        pem: &[u8],
        passphrase: &[u8],
    ) -> Result<Self, KeyError> {
        if key_type == KeyType::Bls12381 {
            return Err(KeyError::NoDocumentForm(key_type));
        }
        let der = decode_pem(pem, ENCRYPTED_PRIVATE_KEY)?;
        match outline(der.expose())? {
            Outline::EncryptedPrivate => {}
            Outline::Private => return Err(KeyError::NotEncrypted),
            Outline::Public => return Err(KeyError::PublicKeyGiven),
        }
        on_wiped_stack(|| {
            let plain = pbes2::decrypt(der.expose(), passphrase)?;
            if outline(plain.expose()) != Ok(Outline::Private) {
                return Err(KeyError::WrongPassphrase);
            }
            Self::from_pkcs8_der(key_type, plain.expose())
        })
    }

    /// The plain document in DER.
    fn to_document(&self) -> Result<SecretBytes, KeyError> {
        let secret = self.expose_secret();
        Ok(match self {
            // Exposed to be written down, as the caller asks.
            Self::Ed25519(_) => SecretBytes::concat(&[&ED25519_HEAD[..], secret.expose()]),
            Self::Secp256k1(key) => SecretBytes::concat(&[
                &SECP256K1_HEAD[..],
                secret.expose(),
                &SECP256K1_MIDDLE,
                &key.public_key().to_uncompressed_bytes(),
            ]),
            Self::Bls12381(_) => return Err(KeyError::NoDocumentForm(KeyType::Bls12381)),
        })
    }
}

impl KeyType {
    /// The type of the key in a plain PKCS#8 document in PEM text, by the algorithm that it names. The
    /// key itself is not looked at.
    ///
    /// # Errors
    /// [`KeyError::WrongAlgorithm`] for an algorithm that no key type has; [`KeyError::Encrypted`] for
    /// an encrypted document, which does not tell; [`KeyError::PublicKeyGiven`],
    /// [`KeyError::WrongPemLabel`], [`KeyError::MalformedPem`], [`KeyError::MalformedDer`],
    /// [`KeyError::TrailingBytes`].
    pub fn of_pkcs8_pem(pem: &[u8]) -> Result<Self, KeyError> {
        plain_algorithm(decode_pem(pem, PRIVATE_KEY)?.expose())
    }
}
