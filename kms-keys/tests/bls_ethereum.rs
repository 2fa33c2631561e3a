//! Ethereum's BLS vectors (`data/README.md` says where they are from).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

mod common;

use common::hex;
use kms_keys::{
    AggregateError, Bls12381PublicKey, Bls12381SecretKey, Bls12381Signature, BlsCiphersuite,
    KeyError, SignatureError,
};
use serde_json::Value;

/// The cases of one folder, with their names, in order.
fn cases(folder: &str, expected: usize) -> Vec<(String, Value)> {
    let folder = format!("{}/tests/data/ethereum-bls/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), serde_json::from_str(&text).unwrap())
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(cases.len(), expected);
    cases
}

fn bytes(value: &Value) -> Vec<u8> {
    hex(value.as_str().unwrap())
}

fn list(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().unwrap().iter().map(bytes).collect()
}

fn signature(value: &Value) -> Result<Bls12381Signature, SignatureError> {
    Bls12381Signature::from_bytes(&bytes(value))
}

fn public_keys(value: &Value) -> Result<Vec<Bls12381PublicKey>, KeyError> {
    list(value).iter().map(|key| Bls12381PublicKey::from_bytes(key)).collect()
}

#[test]
fn sign() {
    for (name, case) in cases("sign", 10) {
        let key = Bls12381SecretKey::from_bytes(&bytes(&case["input"]["privkey"]));
        if case["output"].is_null() {
            assert_eq!(key.unwrap_err(), KeyError::Zero, "{name}");
            continue;
        }
        let message = bytes(&case["input"]["message"]);
        let signed = key.unwrap().sign(BlsCiphersuite::Pop, &message).unwrap();
        assert_eq!(signed.to_bytes()[..], bytes(&case["output"]), "{name}");
    }
}

#[test]
fn verify() {
    for (name, case) in cases("verify", 29) {
        let input = &case["input"];
        let key = Bls12381PublicKey::from_bytes(&bytes(&input["pubkey"]));
        let good = match (key, signature(&input["signature"])) {
            (Ok(key), Ok(signature)) => {
                key.verify(BlsCiphersuite::Pop, &bytes(&input["message"]), &signature).is_ok()
            }
            _ => false,
        };
        assert_eq!(good, case["output"].as_bool().unwrap(), "{name}");
    }
}

#[test]
fn aggregate() {
    for (name, case) in cases("aggregate", 6) {
        let signatures: Result<Vec<_>, _> =
            case["input"].as_array().unwrap().iter().map(signature).collect();
        if name == "aggregate_infinity_signature.json" {
            // Ethereum sums up the identity and leaves its refusal to verifying; here it is no
            // signature in the first place.
            assert_eq!(signatures.unwrap_err(), SignatureError::Identity);
            continue;
        }
        let sum = Bls12381Signature::aggregate(&signatures.unwrap());
        if case["output"].is_null() {
            assert_eq!(sum, Err(AggregateError::Empty), "{name}");
        } else {
            assert_eq!(sum.unwrap().to_bytes()[..], bytes(&case["output"]), "{name}");
        }
    }
}

#[test]
fn aggregate_verify() {
    for (name, case) in cases("aggregate_verify", 5) {
        let input = &case["input"];
        let messages = list(&input["messages"]);
        let good = match (public_keys(&input["pubkeys"]), signature(&input["signature"])) {
            (Ok(keys), Ok(signature)) => {
                assert_eq!(keys.len(), messages.len());
                let pairs: Vec<_> =
                    keys.into_iter().zip(messages.iter().map(Vec::as_slice)).collect();
                signature.aggregate_verify(BlsCiphersuite::Pop, &pairs).is_ok()
            }
            _ => false,
        };
        assert_eq!(good, case["output"].as_bool().unwrap(), "{name}");
    }
}

#[test]
fn fast_aggregate_verify() {
    for (name, case) in cases("fast_aggregate_verify", 12) {
        let input = &case["input"];
        let good = match (public_keys(&input["pubkeys"]), signature(&input["signature"])) {
            (Ok(keys), Ok(signature)) => {
                signature.fast_aggregate_verify(&keys, &bytes(&input["message"])).is_ok()
            }
            _ => false,
        };
        assert_eq!(good, case["output"].as_bool().unwrap(), "{name}");
    }
}
