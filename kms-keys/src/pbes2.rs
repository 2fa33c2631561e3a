//! Documents encrypted under a passphrase: `EncryptedPrivateKeyInfo` of RFC 5958 with PBES2 of RFC
//! 8018. The key that is derived and the plain text are wiped.

use aes::{Aes128, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use cbc::{Decryptor, Encryptor};
use kms_secrets::{SecretBytes, on_wiped_stack};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{self, Decode, Encode};
use pkcs8::pkcs5::EncryptionScheme as Scheme;
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, Pbkdf2Prf, Salt, ScryptParams};

use crate::KeyError;
use crate::password_kdf::{CostRefused, PasswordKdf};

const BLOCK: usize = 16;

/// scrypt with 16 MiB. OpenSSL takes at most 32 MiB unless told otherwise, so the passes make up for it.
const N: u16 = 1 << 14;
const R: u16 = 8;
const P: u16 = 5;

/// Encrypts a plain document with scrypt and AES-256-CBC.
pub(crate) fn encrypt(document: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (mut salt, mut iv) = ([0; 16], [0; BLOCK]);
    getrandom::fill(&mut salt).map_err(KeyError::RandomnessUnavailable)?;
    getrandom::fill(&mut iv).map_err(KeyError::RandomnessUnavailable)?;
    let key = PasswordKdf::scrypt(N.into(), R.into(), P.into())
        .and_then(|kdf| kdf.derive::<32>(passphrase, &salt))
        .map_err(refusal)?;
    let mut text = SecretBytes::with_capacity((document.len() / BLOCK + 1) * BLOCK);
    text.buffer_mut()[..document.len()].copy_from_slice(document);
    let ciphertext = on_wiped_stack(|| {
        let cipher = Encryptor::<Aes256>::new(key.expose().into(), (&iv).into());
        cipher.encrypt_padded::<Pkcs7>(text.buffer_mut(), document.len()).ok()
    });
    let ciphertext = ciphertext.ok_or(KeyError::MalformedDer)?;
    let kdf = Kdf::Scrypt(ScryptParams {
        salt: Salt::new(salt).map_err(malformed)?,
        cost_parameter: N.into(),
        block_size: R,
        parallelization: P,
        key_length: None,
    });
    let parameters = Parameters { kdf, encryption: EncryptionScheme::Aes256Cbc { iv } };
    let encrypted_data = OctetStringRef::new(ciphertext).map_err(malformed)?;
    EncryptedPrivateKeyInfoRef { encryption_algorithm: parameters.into(), encrypted_data }
        .to_der()
        .map_err(malformed)
}

/// The plain document in an encrypted one. With a wrong passphrase it is refused, or, once in a few
/// hundred times, comes out as garbage.
pub(crate) fn decrypt(der: &[u8], passphrase: &[u8]) -> Result<SecretBytes, KeyError> {
    let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|error| match error.kind() {
        // Unknown to PBES2 and to PBES1.
        der::ErrorKind::OidUnknown { .. }
        | der::ErrorKind::Value { tag: der::Tag::ObjectIdentifier } => {
            KeyError::UnsupportedEncryption
        }
        _ => KeyError::MalformedDer,
    })?;
    let Scheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err(KeyError::UnsupportedEncryption);
    };
    let ciphertext = info.encrypted_data.as_bytes();
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
        return Err(KeyError::MalformedDer);
    }
    let (kdf, salt) = match &parameters.kdf {
        Kdf::Pbkdf2(params) if params.prf == Pbkdf2Prf::HmacWithSha256 => {
            (PasswordKdf::pbkdf2(params.iteration_count.into()), &params.salt)
        }
        Kdf::Scrypt(params) => (
            PasswordKdf::scrypt(
                params.cost_parameter,
                params.block_size.into(),
                params.parallelization.into(),
            ),
            &params.salt,
        ),
        _ => return Err(KeyError::UnsupportedEncryption),
    };
    let kdf = kdf.map_err(refusal)?;
    let key_length = parameters.kdf.key_length();
    if key_length.is_some_and(|len| usize::from(len) != parameters.encryption.key_size()) {
        return Err(KeyError::MalformedDer);
    }
    let mut text = SecretBytes::from_slice(ciphertext);
    let buffer = text.buffer_mut();
    let len = match parameters.encryption {
        EncryptionScheme::Aes128Cbc { iv } => {
            let key = kdf.derive::<16>(passphrase, salt.as_bytes()).map_err(refusal)?;
            on_wiped_stack(|| {
                let cipher = Decryptor::<Aes128>::new(key.expose().into(), (&iv).into());
                cipher.decrypt_padded::<Pkcs7>(buffer).map(<[u8]>::len).ok()
            })
        }
        EncryptionScheme::Aes256Cbc { iv } => {
            let key = kdf.derive::<32>(passphrase, salt.as_bytes()).map_err(refusal)?;
            on_wiped_stack(|| {
                let cipher = Decryptor::<Aes256>::new(key.expose().into(), (&iv).into());
                cipher.decrypt_padded::<Pkcs7>(buffer).map(<[u8]>::len).ok()
            })
        }
        _ => return Err(KeyError::UnsupportedEncryption),
    };
    text.set_len(len.ok_or(KeyError::WrongPassphrase)?);
    Ok(text)
}

fn refusal(CostRefused(expected): CostRefused) -> KeyError {
    KeyError::CostRefused { expected }
}

fn malformed(_: der::Error) -> KeyError {
    KeyError::MalformedDer
}

#[cfg(test)]
mod tests {
    use pkcs8::pkcs5::pbes2::Pbkdf2Params;

    use super::*;

    fn document(parameters: Parameters, ciphertext: &[u8]) -> Vec<u8> {
        let encrypted_data = OctetStringRef::new(ciphertext).unwrap();
        EncryptedPrivateKeyInfoRef { encryption_algorithm: parameters.into(), encrypted_data }
            .to_der()
            .unwrap()
    }

    fn pbkdf2(iteration_count: u32, prf: Pbkdf2Prf, key_length: Option<u16>) -> Kdf {
        Kdf::Pbkdf2(Pbkdf2Params {
            salt: Salt::new([0; 8]).unwrap(),
            iteration_count,
            key_length,
            prf,
        })
    }

    fn scrypt(cost_parameter: u64, block_size: u16, parallelization: u16) -> Kdf {
        let salt = Salt::new([0; 8]).unwrap();
        Kdf::Scrypt(ScryptParams {
            salt,
            cost_parameter,
            block_size,
            parallelization,
            key_length: None,
        })
    }

    fn refused(kdf: Kdf, encryption: EncryptionScheme, ciphertext: &[u8]) -> KeyError {
        decrypt(&document(Parameters { kdf, encryption }, ciphertext), b"").unwrap_err()
    }

    const AES: EncryptionScheme = EncryptionScheme::Aes256Cbc { iv: [0; 16] };
    const SHA256: Pbkdf2Prf = Pbkdf2Prf::HmacWithSha256;

    #[test]
    fn what_was_encrypted_is_decrypted() {
        for len in [0, 1, 15, 16, 17, 48, 135] {
            let document: Vec<_> = (0..len).collect();
            let encrypted = encrypt(&document, b"a passphrase").unwrap();
            assert_eq!(decrypt(&encrypted, b"a passphrase").unwrap().expose(), document);
            assert_ne!(encrypt(&document, b"a passphrase").unwrap(), encrypted);
        }
    }

    #[test]
    fn hostile_costs_are_refused_at_once() {
        let started = std::time::Instant::now();
        for kdf in [
            pbkdf2(u32::MAX, SHA256, None),
            pbkdf2(20_000_001, SHA256, None),
            pbkdf2(0, SHA256, None),
            scrypt(1 << 40, 8, 1),
            scrypt(1 << 20, 8, 1),
            scrypt(1 << 14, u16::MAX, 1),
            scrypt(1 << 14, 8, u16::MAX),
            scrypt(1000, 8, 1),
            scrypt(0, 8, 1),
            scrypt(2, 0, 1),
            scrypt(2, 1, 0),
        ] {
            let error = refused(kdf.clone(), AES, &[0; 16]);
            assert!(matches!(error, KeyError::CostRefused { .. }), "{kdf:?}: {error}");
        }
        // Far less than any of them takes.
        assert!(started.elapsed().as_secs() < 10);
    }

    #[test]
    fn other_parameters_are_refused() {
        use KeyError::{MalformedDer, UnsupportedEncryption};
        let cheap = || pbkdf2(1, SHA256, None);
        let gcm = EncryptionScheme::Aes256Gcm { nonce: [0; 12] };
        for (kdf, encryption, len, expected) in [
            (pbkdf2(1, Pbkdf2Prf::HmacWithSha1, None), AES, 16, UnsupportedEncryption),
            (pbkdf2(1, Pbkdf2Prf::HmacWithSha512, None), AES, 16, UnsupportedEncryption),
            (cheap(), gcm, 16, UnsupportedEncryption),
            (cheap(), EncryptionScheme::Aes192Cbc { iv: [0; 16] }, 16, UnsupportedEncryption),
            (pbkdf2(1, SHA256, Some(16)), AES, 16, MalformedDer),
            (cheap(), AES, 0, MalformedDer),
            (cheap(), AES, 15, MalformedDer),
        ] {
            assert_eq!(refused(kdf, encryption, &vec![0; len]), expected);
        }
    }
}
