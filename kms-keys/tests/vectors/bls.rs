//! BLS12-381 with 48-byte public keys: the four things a key signs, and the sum of two secrets.
//!
//! The case of the proof-of-possession suite is one of Ethereum's.

use kms_keys::{
    Bls12381PublicKey, Bls12381SecretKey, Bls12381Signature, BlsCiphersuite, KeyError,
    SigningScheme,
};

use crate::common::hex;
use crate::signed_at_rest;

const SECRET: &str = "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3";
const PUBLIC: &str = concat!(
    "a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e264",
    "4f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a",
);
const POP_OF_56: &str = concat!(
    "882730e5d03f6b42c3abc26d3372625034e1d871b65a8a6b900a56dae22da98a",
    "bbe1b68f85e49fe7652a55ec3d0591c20767677e33e5cbb1207315c41a9ac03b",
    "e39c2e7668edc043d6cb1d9fd93033caa8a1c5b0e84bedaeb6c64972503a43eb",
);

fn key(secret: &str) -> Bls12381SecretKey {
    Bls12381SecretKey::from_bytes(&hex(secret)).unwrap()
}

fn check(ciphersuite: BlsCiphersuite, message: &[u8], signature: &str) {
    let signed = key(SECRET).sign(ciphersuite, message).unwrap();
    assert_eq!(signed.to_bytes()[..], hex(signature));
    let scheme = match ciphersuite {
        BlsCiphersuite::Basic => SigningScheme::BlsBasic,
        BlsCiphersuite::Aug => SigningScheme::BlsAug,
        BlsCiphersuite::Pop => SigningScheme::BlsPop,
        other => panic!("no vector for {other:?}"),
    };
    assert_eq!(signed_at_rest(&hex(SECRET), scheme, message), hex(signature));
    let public = Bls12381PublicKey::from_bytes(&hex(PUBLIC)).unwrap();
    let signature = Bls12381Signature::from_bytes(&hex(signature)).unwrap();
    assert!(public.verify(ciphersuite, message, &signature).is_ok());
}

#[test]
fn public_key() {
    assert_eq!(key(SECRET).public_key().to_bytes()[..], hex(PUBLIC));
}

#[test]
fn proof_of_possession_suite() {
    check(BlsCiphersuite::Pop, &[0x56; 32], POP_OF_56);
}

#[test]
fn basic_suite() {
    check(
        BlsCiphersuite::Basic,
        b"test",
        concat!(
            "a86d1eedfc162d373ba415ea68dab1e81ba7e7a75bbc1aac7c6fdac549ba485b",
            "40ddfe693f03386a86c92b226f52e33b015ec6e933b3d9b6cc6f0dfe2b727fbb",
            "b8ceb1a2efce317b9b16803384eb796b891bdaa31cb5b0dde3bb066e04e7e13b",
        ),
    );
}

#[test]
fn message_augmentation_suite() {
    check(
        BlsCiphersuite::Aug,
        b"test",
        concat!(
            "825c1404e4a5555fe8bd36970c1596c18d109490295713d72d41d97cc265f04f",
            "5b0d855fd174756e74940c347626499f0bf7a6052e576e23fd410dafebc8fac9",
            "68cdf98803cac69cff8e958e4acfcaf535b8feefe50f3d24c8891f33fb05d66a",
        ),
    );
}

#[test]
fn proof_of_possession() {
    let proof = key(SECRET).prove_possession().unwrap();
    assert_eq!(
        proof.to_bytes()[..],
        hex(concat!(
            "b803eb0ed93ea10224a73b6b9c725796be9f5fefd215ef7a5b97234cc956cf68",
            "70db6127b7e4d824ec62276078e787db05584ce1adbf076bc0808ca0f15b73d5",
            "9060254b25393d95dfc7abe3cda566842aaedf50bbb062aae1bbb6ef3b1f77e1",
        ))
    );
    assert!(key(SECRET).public_key().verify_possession(&proof).is_ok());
}

#[test]
fn the_sum_of_two_secrets_signs_as_the_sum_of_their_signatures() {
    let parts = [
        key("47b8192d77bf871b62e87859d653922725724a5c031afeabc60bcef5ff665138"),
        key("52734b9ee13912114f29bf376c0f3873b4fa66e1c49cd545561bc0ea46b9efac"),
    ];
    let publics = parts.each_ref().map(|key| *key.public_key());
    let sum = Bls12381PublicKey::aggregate(&publics).unwrap();
    assert_eq!(sum.to_bytes()[..], hex(PUBLIC));
    let signatures =
        parts.each_ref().map(|key| key.sign(BlsCiphersuite::Pop, &[0x56; 32]).unwrap());
    let sum = Bls12381Signature::aggregate(&signatures).unwrap();
    assert_eq!(sum.to_bytes()[..], hex(POP_OF_56));
}

#[test]
fn secret_zero() {
    assert_eq!(Bls12381SecretKey::from_bytes(&[0; 32]).unwrap_err(), KeyError::Zero);
}
