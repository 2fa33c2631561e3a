//! ECDSA on secp256k1 with the nonces of RFC 6979, SHA-256 and low s. The RFC has no case on this
//! curve; these are the ones that Bitcoin and Trezor published and others check themselves against.

use kms_keys::{EcdsaSignature, Secp256k1SecretKey, SigningScheme};

use crate::common::hex;
use crate::signed_at_rest;

const ONE: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const ORDER_LESS_ONE: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140";

fn check(secret: &str, public: &str, message: &str, signature: &str) {
    let key = Secp256k1SecretKey::from_bytes(&hex(secret)).unwrap();
    assert_eq!(key.public_key().to_bytes()[..], hex(public));
    assert_eq!(key.sign_sha256(message.as_bytes()).to_bytes()[..], hex(signature));
    let at_rest = signed_at_rest(&hex(secret), SigningScheme::EcdsaSha256, message.as_bytes());
    assert_eq!(at_rest, hex(signature));
    let signature = EcdsaSignature::from_bytes(&hex(signature)).unwrap();
    assert!(key.public_key().verify_sha256(message.as_bytes(), &signature).is_ok());
}

#[test]
fn secret_one_satoshi_nakamoto() {
    check(
        ONE,
        "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        "Satoshi Nakamoto",
        concat!(
            "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8",
            "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
        ),
    );
}

#[test]
fn secret_one_like_tears_in_rain() {
    check(
        ONE,
        "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        "All those moments will be lost in time, like tears in rain. Time to die...",
        concat!(
            "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b",
            "547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21",
        ),
    );
}

#[test]
fn largest_secret_satoshi_nakamoto() {
    check(
        ORDER_LESS_ONE,
        "0379be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        "Satoshi Nakamoto",
        concat!(
            "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0",
            "6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5",
        ),
    );
}
