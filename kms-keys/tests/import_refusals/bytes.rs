//! Bytes and hexadecimal text.

use kms_keys::{KeyError, KeyType, PublicKey, SecretKey};

use crate::common::hex;
use crate::der::ED25519_SECRET as SECRET;

#[test]
fn wrong_length() {
    for key_type in KeyType::ALL {
        for got in [0, 31, 33, 64] {
            let expected = KeyError::WrongLength { expected: 32, got };
            let bytes = vec![1; got];
            assert_eq!(SecretKey::from_bytes(*key_type, &bytes).unwrap_err(), expected);
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
}

#[test]
fn bad_hex() {
    let too_long = KeyError::WrongLength { expected: 32, got: 33 };
    for (text, expected) in [
        (format!("{}g", &SECRET[1..]), KeyError::BadHex),
        (format!(" {}", &SECRET[1..]), KeyError::BadHex),
        (format!("0X{}", &SECRET[2..]), KeyError::BadHex),
        (SECRET[1..].to_owned(), KeyError::BadHex),
        (format!("{SECRET}\n"), KeyError::BadHex),
        (format!("{SECRET}\r\n"), KeyError::BadHex),
        (format!("0x0x{SECRET}"), KeyError::BadHex),
        (format!("{SECRET}00"), too_long),
    ] {
        for key_type in KeyType::ALL {
            let refused = SecretKey::from_hex(*key_type, text.as_bytes()).unwrap_err();
            assert_eq!(refused, expected, "{text:?}");
        }
    }
    let not_digits = "zz".repeat(32);
    for key_type in KeyType::ALL {
        let refused = SecretKey::from_hex(*key_type, not_digits.as_bytes()).unwrap_err();
        assert_eq!(refused, KeyError::BadHex);
        assert_eq!(PublicKey::from_hex(*key_type, &not_digits), Err(KeyError::BadHex));
    }
}

#[test]
fn zero_and_out_of_range() {
    for key_type in [KeyType::Secp256k1, KeyType::Bls12381] {
        let refuses = |text: &str, expected| {
            assert_eq!(SecretKey::from_bytes(key_type, &hex(text)).unwrap_err(), expected);
            assert_eq!(SecretKey::from_hex(key_type, text.as_bytes()).unwrap_err(), expected);
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
}

#[test]
fn bad_points() {
    for (key_type, text, expected) in [
        (KeyType::Ed25519, format!("02{}", "00".repeat(31)), KeyError::NotAPoint),
        (KeyType::Ed25519, format!("f0{}7f", "ff".repeat(30)), KeyError::NonCanonical),
        (KeyType::Ed25519, format!("01{}", "00".repeat(31)), KeyError::NotInSubgroup),
        (KeyType::Secp256k1, format!("02{}05", "00".repeat(31)), KeyError::NotAPoint),
        (KeyType::Secp256k1, format!("02{}", "ff".repeat(32)), KeyError::NotAPoint),
        (KeyType::Secp256k1, format!("05{}01", "00".repeat(31)), KeyError::NonCanonical),
        (KeyType::Secp256k1, "00".into(), KeyError::Identity),
        (KeyType::Bls12381, format!("80{}01", "00".repeat(46)), KeyError::NotAPoint),
        (KeyType::Bls12381, format!("80{}04", "00".repeat(46)), KeyError::NotInSubgroup),
        (KeyType::Bls12381, format!("c0{}", "00".repeat(47)), KeyError::Identity),
    ] {
        assert_eq!(PublicKey::from_hex(key_type, &text), Err(expected), "{key_type}: {text}");
    }
}
