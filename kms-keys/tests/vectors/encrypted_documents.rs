//! Encrypted PKCS#8 documents that OpenSSL 3.0 wrote, and ours, which it reads. The keys are those of
//! the plain documents.

use std::io::Write;
use std::process::{Command, Stdio};

use kms_keys::{KeyError, KeyType, SecretKey};

use crate::common::hex;
use crate::documents::{OPENSSL_PRIVATE, RFC_8410_PRIVATE, SECP256K1_SECRET};

const PASSPHRASE: &[u8] = b"correct horse";
const ED25519_SECRET: &str = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842";

/// `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 10000`.
const ED25519_PBKDF2: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAijeNicK4E8ewICJxAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEOz1kMvuh7bCpnivqGrUsJQEQOnL
0NZ8LpOzdAiSJ0xQ0JCFvwufmdcXmPVfAdRTYAeokPFjhArB2AIDkcW+UVpsYr11
wEWPS/cq/OzrLfDw4+c=
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -scrypt`.
const ED25519_SCRYPT: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGTME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAiKbpN0QF3pjwICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBCkYRPabmQEoeVijZXm8cv+BEDpJgT/3BtqEJxT
U+r8CK8CviVB6dvdJfdh677CVy0ccdKvNtYttIc55i4BBy0BBblkkINd4u7tr4bp
OCaKSQ8V
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -v2 aes-256-cbc`.
const SECP256K1_PBKDF2: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgUSphdCA5vewICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDb38rKQknG0+ApKLb9LnroEgZCn
Y3F37OLHFsewq+998TSNeBfF2jdTs2WlH9zbPnBZQavA3203qYxtF6jBqGOvV5Jt
ZFhn4ABHQucXx15MArf4wAXl8TfydaaRvtXzj49nVIY1St+MnWIo9TZ+8jZhmtaW
2PdgboWBdtyAZyvaN26jS9Lj0SBVg15VDv8hMItTcsnvlPp9W7PEcaXKS6wXFsg=
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -v2 aes-128-cbc`.
const SECP256K1_AES_128: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjpIe2O+rRERwICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEOxTFY6iQbi9mJWrSdOwFQoEgZC+
e6DMpeQk4qDT6YLv1mk7vDNiceoBcxDbg7/allfAcGuzehsvr0FrLXMfqlWvGCvP
ZI1T1VjUYvASNum+o07a/TOmvwQTprDQKOrLeE5jCpj9au0nbuy1gbzapbgln9va
tzz4fuvPD9jpON0KEFD4GrB/YroZN29f3OLs5uP7qp66+gr66vPxyorAFhCYIm4=
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -scrypt -scrypt_N 1024`.
const SECP256K1_SCRYPT: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAgMm1PAo0+PDQICBAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBAn0KOi8zCBdkB8eJrQ71frBIGQULgbOCGvbwNr
tHvVpu+BPnY5s5AGqg6p3Y50E5y0HM4khVjMpGKq0pYF2OMtN8aIDs4xYXvLuOc6
5+P9gh+kpAmj7KPFvTXAzbDpnEpRaj49qfITs0+EgesaelpRVihFZAT0wqHvt+Fm
75x6Um6fs17M2zf3z9kXZ9PpExznySFql9iXBx7oiD0aQYBbCNQZ
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1`.
const SECP256K1_SHA1: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAhhXnhPj3NRuAICCAAw
HQYJYIZIAWUDBAEqBBBOcpjaoe7I5vZCf28fGK0GBIGQXOJQGcqMFqM3W/mVPN+Z
OcxNKc0jOvSK4H1QKYW3V2pm2AedIts1Jzo687pp8354rKd44Iy3i3FQR4rDd/OS
qh1pZvqARKwMusmzoUyBxhr0H6/cOeC0am9oelGAx+gjq+ayaznYxG3cwdue5g0j
yFcIm/nnQy/P6Njko+Welyscz5KYj8IV0a0f9za8qj2N
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -v2 des3`.
const SECP256K1_3DES: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHbME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAgYtyKPG3aGdQICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIF1m2vrfp29kEgYj5auvOirV9QQRt
PI4loh4+8wc9Z1DjF/o5LYCDyksv/o/9g8oLY4HYuEg7YuTGIlpS6Z+YZnJI5zGK
p5WIJaBW6tv2SXOUCTNetbcjODrhNbrP+PaJzy12mXC681+aCOAdw1NGrBdk0kbf
rPb8bVcsH9y8uVXYDwmBfKFEDqFCgI/OGKxMC6+6
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES`.
const ED25519_PBES1: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MFgwHAYKKoZIhvcNAQwBAzAOBAirjZvXkK0yzAICCAAEOLQHJmx18Ou0bEUdD8KP
ogfdnnTRgxiErOLgOFcJXEAXt1dz9NJy4h36hHZ+/2yeglXOz2b14cKm
-----END ENCRYPTED PRIVATE KEY-----
";

#[track_caller]
fn check(key_type: KeyType, pem: &str, secret: &str) {
    let read = |passphrase: &[u8]| {
        SecretKey::from_encrypted_pkcs8_pem(key_type, pem.as_bytes(), passphrase)
    };
    let key = read(PASSPHRASE).unwrap();
    assert_eq!(key.expose_secret().expose()[..], hex(secret));
    for passphrase in [&b""[..], b"correct horsf", b"Correct horse", b"correct horse\n"] {
        assert_eq!(read(passphrase).unwrap_err(), KeyError::WrongPassphrase);
    }
}

#[test]
fn openssl_ed25519_pbkdf2() {
    check(KeyType::Ed25519, ED25519_PBKDF2, ED25519_SECRET);
}

#[test]
fn openssl_ed25519_scrypt() {
    check(KeyType::Ed25519, ED25519_SCRYPT, ED25519_SECRET);
}

#[test]
fn openssl_secp256k1_pbkdf2() {
    check(KeyType::Secp256k1, SECP256K1_PBKDF2, SECP256K1_SECRET);
}

#[test]
fn openssl_secp256k1_aes_128() {
    check(KeyType::Secp256k1, SECP256K1_AES_128, SECP256K1_SECRET);
}

#[test]
fn openssl_secp256k1_scrypt() {
    check(KeyType::Secp256k1, SECP256K1_SCRYPT, SECP256K1_SECRET);
}

#[test]
fn older_encryption_is_refused() {
    for (key_type, pem) in [
        (KeyType::Secp256k1, SECP256K1_SHA1),
        (KeyType::Secp256k1, SECP256K1_3DES),
        (KeyType::Ed25519, ED25519_PBES1),
    ] {
        let read = SecretKey::from_encrypted_pkcs8_pem(key_type, pem.as_bytes(), PASSPHRASE);
        assert_eq!(read.unwrap_err(), KeyError::UnsupportedEncryption);
    }
}

#[test]
fn a_document_of_another_kind_is_refused_by_name() {
    let read = |key_type, pem: &str| {
        SecretKey::from_encrypted_pkcs8_pem(key_type, pem.as_bytes(), PASSPHRASE).unwrap_err()
    };
    assert_eq!(read(KeyType::Ed25519, RFC_8410_PRIVATE), KeyError::NotEncrypted);
    let no_form = KeyError::NoDocumentForm(KeyType::Bls12381);
    assert_eq!(read(KeyType::Bls12381, ED25519_SCRYPT), no_form);
    let other = read(KeyType::Secp256k1, ED25519_SCRYPT);
    assert!(matches!(other, KeyError::WrongAlgorithm { .. }), "{other}");
    let relabelled = RFC_8410_PRIVATE.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(read(KeyType::Ed25519, &relabelled), KeyError::NotEncrypted);
    let plain = SecretKey::from_pkcs8_pem(KeyType::Ed25519, ED25519_SCRYPT.as_bytes());
    assert_eq!(plain.unwrap_err(), KeyError::Encrypted);
}

#[test]
fn plain_documents_are_written_as_openssl_writes_them() {
    for (key_type, pem) in
        [(KeyType::Ed25519, RFC_8410_PRIVATE), (KeyType::Secp256k1, OPENSSL_PRIVATE)]
    {
        let key = SecretKey::from_pkcs8_pem(key_type, pem.as_bytes()).unwrap();
        assert_eq!(key.to_pkcs8_pem().unwrap().expose(), pem.as_bytes());
        assert_eq!(KeyType::of_pkcs8_pem(pem.as_bytes()), Ok(key_type));
    }
}

#[test]
fn our_encrypted_documents_are_read_back() {
    for key_type in [KeyType::Ed25519, KeyType::Secp256k1] {
        let key = SecretKey::generate(key_type).unwrap();
        let pem = key.to_encrypted_pkcs8_pem(PASSPHRASE).unwrap();
        let read = |passphrase: &[u8]| {
            SecretKey::from_encrypted_pkcs8_pem(key_type, pem.as_bytes(), passphrase)
        };
        assert_eq!(read(PASSPHRASE).unwrap().public_key(), key.public_key());
        assert_eq!(read(b"another").unwrap_err(), KeyError::WrongPassphrase);
    }
    let bls = SecretKey::generate(KeyType::Bls12381).unwrap();
    let no_form = KeyError::NoDocumentForm(KeyType::Bls12381);
    assert_eq!(bls.to_pkcs8_pem().unwrap_err(), no_form);
    assert_eq!(bls.to_encrypted_pkcs8_pem(PASSPHRASE).unwrap_err(), no_form);
}

/// `openssl genpkey -algorithm X25519`.
const OPENSSL_X25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEILCSBHRjLpHwsuTso0l1++F8OWIlU022upvh0oyOhoFe
-----END PRIVATE KEY-----
";

#[test]
fn the_type_of_a_key_is_told_by_its_document() {
    let error = KeyType::of_pkcs8_pem(OPENSSL_X25519.as_bytes()).unwrap_err();
    let expected = "Ed25519 (1.3.101.112) or secp256k1 (1.3.132.0.10)";
    assert_eq!(error, KeyError::WrongAlgorithm { expected, found: "1.3.101.110".into() });
    let encrypted = KeyType::of_pkcs8_pem(ED25519_SCRYPT.as_bytes());
    assert_eq!(encrypted, Err(KeyError::Encrypted));
    assert_eq!(KeyType::of_pkcs8_pem(b"text"), Err(KeyError::MalformedPem));
}

/// The public key that OpenSSL finds in one of our documents.
fn openssl_public_key(pem: &[u8], passphrase: &[u8]) -> String {
    let passphrase = format!("pass:{}", str::from_utf8(passphrase).unwrap());
    let mut openssl = Command::new("openssl")
        .args(["pkey", "-pubout", "-passin", &passphrase])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(pem).unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs the openssl command"]
fn openssl_reads_what_we_write() {
    for key_type in [KeyType::Ed25519, KeyType::Secp256k1] {
        let key = SecretKey::generate(key_type).unwrap();
        let expected = key.public_key().to_spki_pem().unwrap();
        let plain = key.to_pkcs8_pem().unwrap();
        assert_eq!(openssl_public_key(plain.expose(), b""), expected);
        let encrypted = key.to_encrypted_pkcs8_pem(PASSPHRASE).unwrap();
        assert_eq!(openssl_public_key(encrypted.as_bytes(), PASSPHRASE), expected);
    }
}
