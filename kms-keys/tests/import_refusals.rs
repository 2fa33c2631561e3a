//! Every way in which a key is refused, except those that need a broken machine or source of
//! randomness (`src/random.rs` has the latter).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

mod common;

use common::hex;
use kms_keys::{KeyError, KeyType, PublicKey, SecretKey};

const ED25519_SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const ED25519_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const K1_SECRET: &str = "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3";

const OID_ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];
const OID_X25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x6e];
const OID_EC: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const OID_P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const OID_SECP256K1: &[u8] = &[0x06, 5, 0x2b, 0x81, 4, 0, 0x0a];

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 4;
const BITS: u8 = 3;

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = u8::try_from(content.len()).unwrap();
    match len {
        0..0x80 => [&[tag, len], content.as_slice()].concat(),
        _ => [&[tag, 0x81, len], content.as_slice()].concat(),
    }
}

/// A PKCS#8 document with anything as its parts.
fn pkcs8(version: u8, algorithm: &[&[u8]], inner: &[u8], rest: &[u8]) -> Vec<u8> {
    tlv(
        SEQUENCE,
        &[
            &[2, 1, version],
            &tlv(SEQUENCE, algorithm),
            &tlv(OCTETS, &[inner]),
            rest,
        ],
    )
}

fn ed25519_document() -> Vec<u8> {
    pkcs8(
        0,
        &[OID_ED25519],
        &tlv(OCTETS, &[&hex(ED25519_SECRET)]),
        &[],
    )
}

/// `ECPrivateKey` with anything behind the secret.
fn ec_private_key(version: u8, secret: &[u8], rest: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&[2, 1, version], &tlv(OCTETS, &[secret]), rest])
}

fn secp256k1_document(inner: &[u8]) -> Vec<u8> {
    pkcs8(0, &[OID_EC, OID_SECP256K1], inner, &[])
}

fn spki(algorithm: &[&[u8]], point: &[u8]) -> Vec<u8> {
    tlv(
        SEQUENCE,
        &[&tlv(SEQUENCE, algorithm), &tlv(BITS, &[&[0], point])],
    )
}

fn pem(label: &str, der: &[u8]) -> String {
    pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).unwrap()
}

#[track_caller]
fn refuses_pkcs8(key_type: KeyType, der: &[u8], expected: &KeyError) {
    assert_eq!(
        SecretKey::from_pkcs8_der(key_type, der).unwrap_err(),
        *expected
    );
    let text = pem("PRIVATE KEY", der);
    assert_eq!(
        SecretKey::from_pkcs8_pem(key_type, text.as_bytes()).unwrap_err(),
        *expected
    );
}

#[track_caller]
fn refuses_spki(key_type: KeyType, der: &[u8], expected: &KeyError) {
    assert_eq!(
        PublicKey::from_spki_der(key_type, der).as_ref(),
        Err(expected)
    );
    assert_eq!(
        PublicKey::from_spki_pem(key_type, &pem("PUBLIC KEY", der)).as_ref(),
        Err(expected)
    );
}

fn wrong_algorithm(expected: &'static str, found: &str) -> KeyError {
    KeyError::WrongAlgorithm {
        expected,
        found: found.into(),
    }
}

#[test]
fn the_documents_that_are_bent_here_are_good_as_they_are() {
    let key = SecretKey::from_pkcs8_der(KeyType::Ed25519, &ed25519_document()).unwrap();
    assert_eq!(key.public_key().to_hex(), ED25519_PUBLIC);
    let public = key.public_key().to_bytes();
    let with_public = tlv(0x81, &[&[0], &public]);
    let inner = tlv(OCTETS, &[&hex(ED25519_SECRET)]);
    let document = pkcs8(1, &[OID_ED25519], &inner, &with_public);
    assert!(SecretKey::from_pkcs8_der(KeyType::Ed25519, &document).is_ok());
    assert!(PublicKey::from_spki_der(KeyType::Ed25519, &spki(&[OID_ED25519], &public)).is_ok());

    let key = SecretKey::from_hex(KeyType::Secp256k1, K1_SECRET.as_bytes()).unwrap();
    let point = tlv(BITS, &[&[0], &key.public_key().to_bytes()]);
    for rest in [
        vec![],
        tlv(0xa0, &[OID_SECP256K1]),
        tlv(0xa1, &[&point]),
        [tlv(0xa0, &[OID_SECP256K1]), tlv(0xa1, &[&point])].concat(),
    ] {
        let document = secp256k1_document(&ec_private_key(1, &hex(K1_SECRET), &rest));
        let read = SecretKey::from_pkcs8_der(KeyType::Secp256k1, &document).unwrap();
        assert_eq!(read.public_key(), key.public_key());
    }
}

#[test]
fn wrong_length() {
    for key_type in KeyType::ALL {
        for got in [0, 31, 33, 64] {
            let expected = KeyError::WrongLength { expected: 32, got };
            let bytes = vec![1; got];
            assert_eq!(
                SecretKey::from_bytes(*key_type, &bytes).unwrap_err(),
                expected
            );
            let digits = "01".repeat(got);
            let refused = SecretKey::from_hex(*key_type, digits.as_bytes()).unwrap_err();
            assert_eq!(refused, expected);
        }
        let expected = key_type.public_key_len();
        for got in [0, expected - 1, expected + 1, 2 * expected] {
            let bytes = vec![2; got];
            let refused = PublicKey::from_bytes(*key_type, &bytes);
            assert_eq!(refused, Err(KeyError::WrongLength { expected, got }));
        }
    }
    let short = ec_private_key(1, &[1; 31], &[]);
    let expected = KeyError::WrongLength {
        expected: 32,
        got: 31,
    };
    refuses_pkcs8(KeyType::Secp256k1, &secp256k1_document(&short), &expected);
    let short = pkcs8(0, &[OID_ED25519], &tlv(OCTETS, &[&[1; 31]]), &[]);
    refuses_pkcs8(KeyType::Ed25519, &short, &expected);
}

#[test]
fn bad_hex() {
    for text in [
        format!("{}g", &ED25519_SECRET[1..]),
        format!("{ED25519_SECRET}\n\n"),
        format!(" {}", &ED25519_SECRET[1..]),
        ED25519_SECRET[1..].to_owned(),
        format!("0X{}", &ED25519_SECRET[2..]),
    ] {
        for key_type in KeyType::ALL {
            let refused = SecretKey::from_hex(*key_type, text.as_bytes()).unwrap_err();
            assert!(
                matches!(
                    refused,
                    KeyError::BadHex | KeyError::WrongLength { got: 33, .. }
                ),
                "{text:?}: {refused:?}"
            );
        }
    }
    let not_digits = "zz".repeat(32);
    for key_type in KeyType::ALL {
        let refused = SecretKey::from_hex(*key_type, not_digits.as_bytes()).unwrap_err();
        assert_eq!(refused, KeyError::BadHex);
        assert_eq!(
            PublicKey::from_hex(*key_type, &not_digits),
            Err(KeyError::BadHex)
        );
    }
}

#[test]
fn zero_and_out_of_range() {
    for key_type in [KeyType::Secp256k1, KeyType::Bls12381] {
        let refuses = |text: &str, expected| {
            assert_eq!(
                SecretKey::from_bytes(key_type, &hex(text)).unwrap_err(),
                expected
            );
            assert_eq!(
                SecretKey::from_hex(key_type, text.as_bytes()).unwrap_err(),
                expected
            );
        };
        refuses(&"00".repeat(32), KeyError::Zero);
        refuses(&"ff".repeat(32), KeyError::OutOfRange);
        refuses(
            match key_type {
                KeyType::Secp256k1 => {
                    "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
                }
                _ => "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001",
            },
            KeyError::OutOfRange,
        );
    }
    let zero = secp256k1_document(&ec_private_key(1, &[0; 32], &[]));
    refuses_pkcs8(KeyType::Secp256k1, &zero, &KeyError::Zero);
}

#[test]
fn wrong_algorithm_or_curve() {
    let ed25519 = |found| wrong_algorithm("Ed25519 (1.3.101.112)", found);
    let secp256k1 = |found| wrong_algorithm("secp256k1 (1.3.132.0.10)", found);
    let inner = ec_private_key(1, &hex(K1_SECRET), &[]);

    refuses_pkcs8(
        KeyType::Secp256k1,
        &ed25519_document(),
        &secp256k1("1.3.101.112"),
    );
    refuses_pkcs8(
        KeyType::Ed25519,
        &secp256k1_document(&inner),
        &ed25519("1.3.132.0.10"),
    );
    let p256 = pkcs8(0, &[OID_EC, OID_P256], &inner, &[]);
    refuses_pkcs8(KeyType::Secp256k1, &p256, &secp256k1("1.2.840.10045.3.1.7"));
    let x25519 = pkcs8(0, &[OID_X25519], &tlv(OCTETS, &[&[1; 32]]), &[]);
    refuses_pkcs8(KeyType::Ed25519, &x25519, &ed25519("1.3.101.110"));
    let no_curve = pkcs8(0, &[OID_EC], &inner, &[]);
    refuses_pkcs8(
        KeyType::Secp256k1,
        &no_curve,
        &secp256k1("1.2.840.10045.2.1"),
    );
    // The outer structure says one curve, the inner another.
    let inner = ec_private_key(1, &hex(K1_SECRET), &tlv(0xa0, &[OID_P256]));
    let disagreeing = secp256k1_document(&inner);
    refuses_pkcs8(
        KeyType::Secp256k1,
        &disagreeing,
        &secp256k1("1.2.840.10045.3.1.7"),
    );

    let public = spki(&[OID_X25519], &[9; 32]);
    refuses_spki(KeyType::Ed25519, &public, &ed25519("1.3.101.110"));
    let public = spki(&[OID_EC, OID_P256], &[2; 33]);
    refuses_spki(
        KeyType::Secp256k1,
        &public,
        &secp256k1("1.2.840.10045.3.1.7"),
    );
}

#[test]
fn trailing_bytes() {
    let mut outside = ed25519_document();
    outside.push(0);
    refuses_pkcs8(KeyType::Ed25519, &outside, &KeyError::TrailingBytes);
    let mut inner = tlv(OCTETS, &[&hex(ED25519_SECRET)]);
    inner.push(0);
    let inside = pkcs8(0, &[OID_ED25519], &inner, &[]);
    refuses_pkcs8(KeyType::Ed25519, &inside, &KeyError::TrailingBytes);
    let mut inner = ec_private_key(1, &hex(K1_SECRET), &[]);
    inner.push(0);
    refuses_pkcs8(
        KeyType::Secp256k1,
        &secp256k1_document(&inner),
        &KeyError::TrailingBytes,
    );
    let inner = ec_private_key(1, &hex(K1_SECRET), &[4, 0]);
    refuses_pkcs8(
        KeyType::Secp256k1,
        &secp256k1_document(&inner),
        &KeyError::TrailingBytes,
    );
    let mut public = spki(&[OID_ED25519], &hex(ED25519_PUBLIC));
    public.push(0);
    refuses_spki(KeyType::Ed25519, &public, &KeyError::TrailingBytes);

    let twice = pem("PRIVATE KEY", &ed25519_document()).repeat(2);
    let refused = SecretKey::from_pkcs8_pem(KeyType::Ed25519, twice.as_bytes()).unwrap_err();
    assert_eq!(refused, KeyError::TrailingBytes);
}

#[test]
fn a_public_key_where_a_private_one_is_due_and_the_other_way_round() {
    let public = spki(&[OID_ED25519], &hex(ED25519_PUBLIC));
    refuses_pkcs8(KeyType::Ed25519, &public, &KeyError::PublicKeyGiven);
    refuses_spki(
        KeyType::Ed25519,
        &ed25519_document(),
        &KeyError::PrivateKeyGiven,
    );
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
fn no_document_form() {
    let expected = KeyError::NoDocumentForm(KeyType::Bls12381);
    refuses_pkcs8(KeyType::Bls12381, &ed25519_document(), &expected);
    refuses_spki(
        KeyType::Bls12381,
        &spki(&[OID_ED25519], &hex(ED25519_PUBLIC)),
        &expected,
    );
    let key = SecretKey::generate(KeyType::Bls12381).unwrap().public_key();
    assert_eq!(key.to_spki_der(), Err(expected.clone()));
    assert_eq!(key.to_spki_pem(), Err(expected));
}

#[test]
fn malformed_der() {
    let good = ed25519_document();
    for len in 1..good.len() {
        refuses_pkcs8(KeyType::Ed25519, &good[..len], &KeyError::MalformedDer);
    }
    for document in [
        pkcs8(2, &[OID_ED25519], &tlv(OCTETS, &[&[1; 32]]), &[]),
        pkcs8(1, &[OID_ED25519], &tlv(OCTETS, &[&[1; 32]]), &[]), // version 2, no public key
        pkcs8(0, &[OID_ED25519, &[5, 0]], &tlv(OCTETS, &[&[1; 32]]), &[]), // parameters
        pkcs8(0, &[OID_ED25519], &hex(ED25519_SECRET), &[]),      // an octet string is missing
    ] {
        refuses_pkcs8(KeyType::Ed25519, &document, &KeyError::MalformedDer);
    }
    let version_0 = secp256k1_document(&ec_private_key(0, &hex(K1_SECRET), &[]));
    refuses_pkcs8(KeyType::Secp256k1, &version_0, &KeyError::MalformedDer);
    let odd_bits = tlv(
        SEQUENCE,
        &[&tlv(SEQUENCE, &[OID_ED25519]), &tlv(BITS, &[&[1, 0xfe]])],
    );
    refuses_spki(KeyType::Ed25519, &odd_bits, &KeyError::MalformedDer);
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

#[test]
fn public_key_mismatch() {
    let other = SecretKey::generate(KeyType::Ed25519)
        .unwrap()
        .public_key()
        .to_bytes();
    let inner = tlv(OCTETS, &[&hex(ED25519_SECRET)]);
    for claimed in [other.as_slice(), &[0; 32], &[]] {
        let document = pkcs8(1, &[OID_ED25519], &inner, &tlv(0x81, &[&[0], claimed]));
        refuses_pkcs8(KeyType::Ed25519, &document, &KeyError::PublicKeyMismatch);
    }
    let other = SecretKey::generate(KeyType::Secp256k1)
        .unwrap()
        .public_key()
        .to_bytes();
    let rest = tlv(0xa1, &[&tlv(BITS, &[&[0], &other])]);
    let inner = ec_private_key(1, &hex(K1_SECRET), &rest);
    refuses_pkcs8(
        KeyType::Secp256k1,
        &secp256k1_document(&inner),
        &KeyError::PublicKeyMismatch,
    );
}

#[test]
fn bad_points() {
    for (key_type, text, expected) in [
        (
            KeyType::Ed25519,
            format!("02{}", "00".repeat(31)),
            KeyError::NotAPoint,
        ),
        (
            KeyType::Ed25519,
            format!("f0{}7f", "ff".repeat(30)),
            KeyError::NonCanonical,
        ),
        (
            KeyType::Ed25519,
            format!("01{}", "00".repeat(31)),
            KeyError::NotInSubgroup,
        ),
        (
            KeyType::Secp256k1,
            format!("02{}05", "00".repeat(31)),
            KeyError::NotAPoint,
        ),
        (
            KeyType::Secp256k1,
            format!("02{}", "ff".repeat(32)),
            KeyError::NotAPoint,
        ),
        (
            KeyType::Secp256k1,
            format!("05{}01", "00".repeat(31)),
            KeyError::NonCanonical,
        ),
        (KeyType::Secp256k1, "00".into(), KeyError::Identity),
        (
            KeyType::Bls12381,
            format!("80{}01", "00".repeat(46)),
            KeyError::NotAPoint,
        ),
        (
            KeyType::Bls12381,
            format!("80{}04", "00".repeat(46)),
            KeyError::NotInSubgroup,
        ),
        (
            KeyType::Bls12381,
            format!("c0{}", "00".repeat(47)),
            KeyError::Identity,
        ),
    ] {
        assert_eq!(
            PublicKey::from_hex(key_type, &text),
            Err(expected),
            "{key_type}: {text}"
        );
    }
    let identity = spki(&[OID_ED25519], &[&[1][..], &[0; 31]].concat());
    refuses_spki(KeyType::Ed25519, &identity, &KeyError::NotInSubgroup);
    let identity = spki(&[OID_EC, OID_SECP256K1], &[0]);
    refuses_spki(KeyType::Secp256k1, &identity, &KeyError::Identity);
}
