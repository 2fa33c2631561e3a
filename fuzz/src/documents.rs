//! Key documents: PKCS#8, plain and encrypted, and SPKI. Each is given as PEM text or in DER, which
//! is put into PEM text: a flipped bit gets further there.

use kms_keys::{KeyError, KeyType, PublicKey, SecretKey};
use kms_secrets::{DecodedSecret, Encoding};
use pem_rfc7468::LineEnding;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Decode;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;

/// The passphrase of the encrypted documents in the corpus.
const PASSPHRASE: &[u8] = b"correct horse";

/// A plain private key.
pub fn pkcs8(data: &[u8]) -> bool {
    let pem = pem("PRIVATE KEY", data);
    let named = KeyType::of_pkcs8_pem(&pem);
    let mut read = 0;
    for &key_type in KeyType::ALL {
        let key = SecretKey::from_pkcs8_pem(key_type, &pem);
        if is_der(data) {
            assert_eq!(
                SecretKey::from_pkcs8_der(key_type, data).err(),
                key.as_ref().err().cloned()
            );
        }
        if let Ok(key) = key {
            assert_eq!(named, Ok(key_type));
            read_back(&key);
            let encrypted = SecretKey::from_encrypted_pkcs8_pem(key_type, &pem, PASSPHRASE);
            assert_eq!(encrypted.unwrap_err(), KeyError::NotEncrypted);
            // One block and nothing else: whoever reads PEM reads this.
            if let Ok(DecodedSecret::Pem { label, der }) = Encoding::Pem.decode(&pem) {
                assert_eq!(label, "PRIVATE KEY");
                let again = SecretKey::from_pkcs8_der(key_type, der.expose()).unwrap();
                assert_eq!(again.public_key(), key.public_key());
            }
            read += 1;
        }
    }
    assert!(read <= 1, "a key of several types");
    read == 1
}

/// An encrypted private key. It is decrypted only where that costs next to nothing, and where it must
/// be refused for what it would cost.
pub fn encrypted_pkcs8(data: &[u8]) -> bool {
    let pem = pem("ENCRYPTED PRIVATE KEY", data);
    let cost = cost(&pem);
    if cost == Cost::High {
        return false;
    }
    let mut read = false;
    for &key_type in KeyType::ALL {
        let key = SecretKey::from_encrypted_pkcs8_pem(key_type, &pem, PASSPHRASE);
        if cost == Cost::Absurd {
            assert!(key.is_err());
        }
        if let Ok(key) = key {
            assert_eq!(key.key_type(), key_type);
            assert!(KeyType::of_pkcs8_pem(&pem).is_err());
            read_back(&key);
            read = true;
        }
    }
    read
}

/// A public key.
pub fn public_key(data: &[u8]) -> bool {
    let pem = pem("PUBLIC KEY", data);
    let Ok(text) = str::from_utf8(&pem) else {
        return false;
    };
    let mut read = 0;
    for &key_type in KeyType::ALL {
        if let Ok(key) = PublicKey::from_spki_pem(key_type, text) {
            let written = key.to_spki_pem().unwrap();
            assert_eq!(PublicKey::from_spki_pem(key_type, &written).as_ref(), Ok(&key));
            assert_eq!(PublicKey::from_bytes(key_type, &key.to_bytes()).as_ref(), Ok(&key));
            read += 1;
        }
    }
    assert!(read <= 1, "a key of several types");
    read == 1
}

fn is_der(data: &[u8]) -> bool {
    data.first() == Some(&0x30)
}

fn pem(label: &str, data: &[u8]) -> Vec<u8> {
    if !is_der(data) {
        return data.to_vec();
    }
    pem_rfc7468::encode_string(label, LineEnding::LF, data).unwrap().into_bytes()
}

/// `key` written and read, which must give the same again.
fn read_back(key: &SecretKey) {
    let written = key.to_pkcs8_pem().unwrap();
    assert_eq!(KeyType::of_pkcs8_pem(written.expose()), Ok(key.key_type()));
    let again = SecretKey::from_pkcs8_pem(key.key_type(), written.expose()).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    assert_eq!(again.to_pkcs8_pem().unwrap().expose(), written.expose());
}

/// What decrypting would cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// Next to nothing; or the document is none.
    Low,
    High,
    /// More than any honest document asks for.
    Absurd,
}

fn cost(pem: &[u8]) -> Cost {
    let Ok((_, der)) = pem_rfc7468::decode_vec(pem.trim_ascii_end()) else {
        return Cost::Low;
    };
    let Ok(info) = EncryptedPrivateKeyInfoRef::from_der(&der) else {
        return Cost::Low;
    };
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Cost::Low;
    };
    let (cost, low, most) = match &parameters.kdf {
        Kdf::Pbkdf2(params) => (u128::from(params.iteration_count), 2048, 20_000_000),
        Kdf::Scrypt(params) => {
            let blocks = u128::from(params.cost_parameter) * u128::from(params.block_size);
            (blocks * u128::from(params.parallelization) * 128, 1 << 20, 1 << 30)
        }
        _ => return Cost::Low,
    };
    match cost {
        _ if cost <= low => Cost::Low,
        _ if cost <= most => Cost::High,
        _ => Cost::Absurd,
    }
}
