//! PKCS#8 and SPKI documents: the examples of RFC 8410, section 10, and what OpenSSL writes.

use kms_keys::{KeyType, PublicKey, SecretKey};

use crate::common::hex;

pub(crate) const RFC_8410_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

/// The same key with attributes and the public key.
const RFC_8410_PRIVATE_AND_PUBLIC: &str = "-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
";

const RFC_8410_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";

pub(crate) const SECP256K1_SECRET: &str =
    "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3";

/// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1`, with the secret above.
pub(crate) const OPENSSL_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgJj29eS9bG+R+2F+JOMDy
lYavDTrHuXfyHCeP4UYgQOOhRANCAARIwxE7D1kyDTZeIIAJyX+21szN21ua2l/c
AOm/p687SS3V8yJaBN0EsMB/JgHQx/0NjAVd0Jjxl0ie7elcTgcb
-----END PRIVATE KEY-----
";

/// `openssl pkey -pubout`.
const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAESMMROw9ZMg02XiCACcl/ttbMzdtbmtpf
3ADpv6evO0kt1fMiWgTdBLDAfyYB0Mf9DYwFXdCY8ZdInu3pXE4HGw==
-----END PUBLIC KEY-----
";

/// `openssl ec -pubout -conv_form compressed`.
const OPENSSL_PUBLIC_COMPRESSED: &str = "-----BEGIN PUBLIC KEY-----
MDYwEAYHKoZIzj0CAQYFK4EEAAoDIgADSMMROw9ZMg02XiCACcl/ttbMzdtbmtpf
3ADpv6evO0k=
-----END PUBLIC KEY-----
";

fn private(key_type: KeyType, pem: &str) -> SecretKey {
    SecretKey::from_pkcs8_pem(key_type, pem.as_bytes()).unwrap()
}

fn public(key_type: KeyType, pem: &str) -> PublicKey {
    PublicKey::from_spki_pem(key_type, pem).unwrap()
}

#[test]
fn rfc_8410_private_key() {
    let key = private(KeyType::Ed25519, RFC_8410_PRIVATE);
    assert_eq!(
        key.expose_secret().expose()[..],
        hex("d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842")
    );
}

#[test]
fn rfc_8410_private_key_with_its_public_key() {
    let key = private(KeyType::Ed25519, RFC_8410_PRIVATE_AND_PUBLIC);
    let alone = private(KeyType::Ed25519, RFC_8410_PRIVATE);
    assert_eq!(key.expose_secret().expose(), alone.expose_secret().expose());
}

#[test]
fn rfc_8410_public_key() {
    let key = public(KeyType::Ed25519, RFC_8410_PUBLIC);
    assert_eq!(key, private(KeyType::Ed25519, RFC_8410_PRIVATE).public_key());
    assert_eq!(key.to_spki_pem().unwrap(), RFC_8410_PUBLIC);
}

#[test]
fn openssl_secp256k1_private_key() {
    let key = private(KeyType::Secp256k1, OPENSSL_PRIVATE);
    assert_eq!(key.expose_secret().expose()[..], hex(SECP256K1_SECRET));
}

#[test]
fn openssl_secp256k1_public_key() {
    let key = public(KeyType::Secp256k1, OPENSSL_PUBLIC);
    assert_eq!(key, private(KeyType::Secp256k1, OPENSSL_PRIVATE).public_key());
    assert_eq!(key.to_spki_pem().unwrap(), OPENSSL_PUBLIC);
    assert_eq!(public(KeyType::Secp256k1, OPENSSL_PUBLIC_COMPRESSED), key);
}

#[test]
fn windows_line_ends() {
    let pem = OPENSSL_PRIVATE.replace('\n', "\r\n");
    let key = private(KeyType::Secp256k1, &pem);
    assert_eq!(key.expose_secret().expose()[..], hex(SECP256K1_SECRET));
}
