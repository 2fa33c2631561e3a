//! RFC 8032, section 7.1.

use kms_keys::{Ed25519PublicKey, Ed25519SecretKey, Ed25519Signature, SigningScheme};

use crate::common::hex;
use crate::signed_at_rest;

fn check(secret: &str, public: &str, message: &str, signature: &str) {
    let key = Ed25519SecretKey::from_bytes(&hex(secret)).unwrap();
    assert_eq!(key.public_key().to_bytes()[..], hex(public));
    assert_eq!(key.sign(&hex(message)).to_bytes()[..], hex(signature));
    let at_rest = signed_at_rest(&hex(secret), SigningScheme::Ed25519, &hex(message));
    assert_eq!(at_rest, hex(signature));
    let signature = Ed25519Signature::from_bytes(&hex(signature)).unwrap();
    let public = Ed25519PublicKey::from_bytes(&hex(public)).unwrap();
    assert!(public.verify(&hex(message), &signature).is_ok());
}

#[test]
fn test_1_message_of_no_bytes() {
    check(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        concat!(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
    );
}

#[test]
fn test_2_message_of_1_byte() {
    check(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    );
}

#[test]
fn test_3_message_of_2_bytes() {
    check(
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        concat!(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    );
}
