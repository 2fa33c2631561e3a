//! PEM text, and documents of another kind than the one that is due.

use kms_keys::{KeyError, KeyType, PublicKey, SecretKey};

use crate::common::hex;
use crate::der::*;

#[test]
fn a_public_key_where_a_private_one_is_due_and_the_other_way_round() {
    let public = spki(&[OID_ED25519], &hex(ED25519_PUBLIC));
    refuses_pkcs8(KeyType::Ed25519, &public, &KeyError::PublicKeyGiven);
    refuses_spki(KeyType::Ed25519, &ed25519_document(), &KeyError::PrivateKeyGiven);
    let text = pem("PUBLIC KEY", &public);
    let refused = SecretKey::from_pkcs8_pem(KeyType::Ed25519, text.as_bytes()).unwrap_err();
    assert_eq!(refused, KeyError::PublicKeyGiven);
    let text = pem("PRIVATE KEY", &ed25519_document());
    let refused = PublicKey::from_spki_pem(KeyType::Ed25519, &text);
    assert_eq!(refused, Err(KeyError::PrivateKeyGiven));
}

#[test]
fn encrypted() {
    // What OpenSSL writes with -aes-256-cbc.
    let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBDTx3D9/BCGl4cpa+yz
GBocAgIIADAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ2d/qx5JoRta5LAkQ
vMcI+wRA0oxtN08rhsrJIdJP5yJTofnjob7X9ZOsno5kST516M+VuYZOVv+yLSo4
KFRGnZ4Zf+pHvrhDV2gLp92KnwXEgQ==
-----END ENCRYPTED PRIVATE KEY-----
";
    let refused = SecretKey::from_pkcs8_pem(KeyType::Ed25519, text.as_bytes()).unwrap_err();
    assert_eq!(refused, KeyError::Encrypted);
    let (_, der) = pem_rfc7468::decode_vec(text.as_bytes()).unwrap();
    refuses_pkcs8(KeyType::Ed25519, &der, &KeyError::Encrypted);
    refuses_spki(KeyType::Ed25519, &der, &KeyError::PrivateKeyGiven);
}

#[test]
fn other_pem_text() {
    let sec1 = pem("EC PRIVATE KEY", &ec_private_key(1, &hex(K1_SECRET), &[]));
    let refused = SecretKey::from_pkcs8_pem(KeyType::Secp256k1, sec1.as_bytes()).unwrap_err();
    let (expected, found) = ("PRIVATE KEY", "EC PRIVATE KEY");
    assert_eq!(refused, KeyError::WrongPemLabel { expected, found });
}

#[test]
fn malformed_pem() {
    let good = pem("PRIVATE KEY", &ed25519_document());
    for text in [
        String::new(),
        ED25519_SECRET.to_owned(),
        good.replace("-----END", "----END"),
        good.replace("END PRIVATE", "END OTHER"),
        good.replace('=', "!").replace("MC4C", "MC4!"),
        good.replace("-----\nMC4C", "-----\nProc-Type: 4,ENCRYPTED\nMC4C"),
    ] {
        let refused = SecretKey::from_pkcs8_pem(KeyType::Ed25519, text.as_bytes()).unwrap_err();
        assert_eq!(refused, KeyError::MalformedPem, "{text}");
    }
}
