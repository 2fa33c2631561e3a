//! PKCS#8 and SPKI documents.

use kms_keys::{KeyError, KeyType, PublicKey, SecretKey};

use crate::common::hex;
use crate::der::*;

fn wrong_algorithm(expected: &'static str, found: &str) -> KeyError {
    KeyError::WrongAlgorithm { expected, found: found.into() }
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
fn wrong_algorithm_or_curve() {
    let ed25519 = |found| wrong_algorithm("Ed25519 (1.3.101.112)", found);
    let secp256k1 = |found| wrong_algorithm("secp256k1 (1.3.132.0.10)", found);
    let inner = ec_private_key(1, &hex(K1_SECRET), &[]);

    refuses_pkcs8(KeyType::Secp256k1, &ed25519_document(), &secp256k1("1.3.101.112"));
    refuses_pkcs8(KeyType::Ed25519, &secp256k1_document(&inner), &ed25519("1.3.132.0.10"));
    let p256 = pkcs8(0, &[OID_EC, OID_P256], &inner, &[]);
    refuses_pkcs8(KeyType::Secp256k1, &p256, &secp256k1("1.2.840.10045.3.1.7"));
    let x25519 = pkcs8(0, &[OID_X25519], &tlv(OCTETS, &[&[1; 32]]), &[]);
    refuses_pkcs8(KeyType::Ed25519, &x25519, &ed25519("1.3.101.110"));
    let no_curve = pkcs8(0, &[OID_EC], &inner, &[]);
    refuses_pkcs8(KeyType::Secp256k1, &no_curve, &secp256k1("1.2.840.10045.2.1"));
    // The outer structure says one curve, the inner another.
    let inner = ec_private_key(1, &hex(K1_SECRET), &tlv(0xa0, &[OID_P256]));
    let disagreeing = secp256k1_document(&inner);
    refuses_pkcs8(KeyType::Secp256k1, &disagreeing, &secp256k1("1.2.840.10045.3.1.7"));

    let public = spki(&[OID_X25519], &[9; 32]);
    refuses_spki(KeyType::Ed25519, &public, &ed25519("1.3.101.110"));
    let public = spki(&[OID_EC, OID_P256], &[2; 33]);
    refuses_spki(KeyType::Secp256k1, &public, &secp256k1("1.2.840.10045.3.1.7"));
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
    refuses_pkcs8(KeyType::Secp256k1, &secp256k1_document(&inner), &KeyError::TrailingBytes);
    let inner = ec_private_key(1, &hex(K1_SECRET), &[4, 0]);
    refuses_pkcs8(KeyType::Secp256k1, &secp256k1_document(&inner), &KeyError::TrailingBytes);
    let mut public = spki(&[OID_ED25519], &hex(ED25519_PUBLIC));
    public.push(0);
    refuses_spki(KeyType::Ed25519, &public, &KeyError::TrailingBytes);

    let twice = pem("PRIVATE KEY", &ed25519_document()).repeat(2);
    let refused = SecretKey::from_pkcs8_pem(KeyType::Ed25519, twice.as_bytes()).unwrap_err();
    assert_eq!(refused, KeyError::TrailingBytes);
}

#[test]
fn no_document_form() {
    let expected = KeyError::NoDocumentForm(KeyType::Bls12381);
    refuses_pkcs8(KeyType::Bls12381, &ed25519_document(), &expected);
    refuses_spki(KeyType::Bls12381, &spki(&[OID_ED25519], &hex(ED25519_PUBLIC)), &expected);
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
    let odd_bits = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[OID_ED25519]), &tlv(BITS, &[&[1, 0xfe]])]);
    refuses_spki(KeyType::Ed25519, &odd_bits, &KeyError::MalformedDer);
}

#[test]
fn public_key_mismatch() {
    let other = SecretKey::generate(KeyType::Ed25519).unwrap().public_key().to_bytes();
    let inner = tlv(OCTETS, &[&hex(ED25519_SECRET)]);
    for claimed in [other.as_slice(), &[0; 32], &[]] {
        let document = pkcs8(1, &[OID_ED25519], &inner, &tlv(0x81, &[&[0], claimed]));
        refuses_pkcs8(KeyType::Ed25519, &document, &KeyError::PublicKeyMismatch);
    }
    let other = SecretKey::generate(KeyType::Secp256k1).unwrap().public_key().to_bytes();
    let rest = tlv(0xa1, &[&tlv(BITS, &[&[0], &other])]);
    let inner = ec_private_key(1, &hex(K1_SECRET), &rest);
    refuses_pkcs8(KeyType::Secp256k1, &secp256k1_document(&inner), &KeyError::PublicKeyMismatch);
}

#[test]
fn a_bad_key_in_a_good_document() {
    let short = ec_private_key(1, &[1; 31], &[]);
    let expected = KeyError::WrongLength { expected: 32, got: 31 };
    refuses_pkcs8(KeyType::Secp256k1, &secp256k1_document(&short), &expected);
    let short = pkcs8(0, &[OID_ED25519], &tlv(OCTETS, &[&[1; 31]]), &[]);
    refuses_pkcs8(KeyType::Ed25519, &short, &expected);
    let zero = secp256k1_document(&ec_private_key(1, &[0; 32], &[]));
    refuses_pkcs8(KeyType::Secp256k1, &zero, &KeyError::Zero);
    let identity = spki(&[OID_ED25519], &[&[1][..], &[0; 31]].concat());
    refuses_spki(KeyType::Ed25519, &identity, &KeyError::NotInSubgroup);
    let identity = spki(&[OID_EC, OID_SECP256K1], &[0]);
    refuses_spki(KeyType::Secp256k1, &identity, &KeyError::Identity);
}
