//! Nothing that is printed holds a secret: no `Debug`, no `Display`, no error and none of its causes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

use std::error::Error;
use std::fmt::{Debug, Display};

use base64ct::{Base64, Base64Url, Encoding};
use kms_keys::{
    Bls12381SecretKey, DerivationPath, Ed25519SecretKey, Eip2335Kdf, Eip2335Keystore, KeyId,
    KeyType, Mnemonic, Operator, OperatorError, Secp256k1SecretKey, SecretKey, SecretRef, Seed,
    SigningScheme, X25519Operator,
};
use sha2::{Digest, Sha512};

/// So many bytes of a secret in a row count as a leak.
const WINDOW: usize = 6;

/// Every spelling that is looked for, of the secret and of the secret backwards (blst keeps its numbers
/// so).
fn spellings(secret: &[u8]) -> Vec<String> {
    let backwards: Vec<u8> = secret.iter().rev().copied().collect();
    let mut spellings = Vec::new();
    for bytes in [secret, &backwards] {
        for window in bytes.windows(WINDOW) {
            spellings.push(base16ct::lower::encode_string(window));
            spellings.push(base16ct::upper::encode_string(window));
            for separator in [", ", ",", " "] {
                spellings
                    .push(window.iter().map(u8::to_string).collect::<Vec<_>>().join(separator));
            }
            let hex_list: Vec<_> = window.iter().map(|byte| format!("{byte:#04x}")).collect();
            spellings.push(hex_list.join(", "));
        }
        // Any run of eight base64 characters that begins at a whole group of three bytes.
        for text in [Base64::encode_string(bytes), Base64Url::encode_string(bytes)] {
            spellings.extend((0..=text.len() - 8).step_by(4).map(|at| text[at..at + 8].to_owned()));
        }
        spellings.push(bs58::encode(bytes).into_string());
    }
    spellings
}

fn leaks(text: &str, secret: &[u8]) -> bool {
    // A list that is printed with {:#?} has one number a line.
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    spellings(secret).iter().any(|spelling| text.contains(spelling) || joined.contains(spelling))
}

#[track_caller]
fn silent(text: &str, secrets: &[&[u8]]) {
    assert!(!text.is_empty());
    for secret in secrets {
        assert!(!leaks(text, secret), "{text}");
    }
}

#[track_caller]
fn silent_debug(value: &impl Debug, secrets: &[&[u8]]) {
    silent(&format!("{value:?}"), secrets);
    silent(&format!("{value:#?}"), secrets);
}

#[track_caller]
fn silent_error(error: &dyn Error, secrets: &[&[u8]]) {
    let mut next = Some(error);
    while let Some(error) = next {
        silent(&error.to_string(), secrets);
        silent_debug(&error, secrets);
        next = error.source();
    }
}

/// A secret that is a key of every type, with no short byte that would make a list look like chance.
fn secret() -> [u8; 32] {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).unwrap();
    secret[0] &= 0x3f;
    secret.map(|byte| byte | 1)
}

fn silent_key(typed: &dyn Debug, key: &SecretKey, secrets: &[&[u8]]) {
    silent_debug(&typed, secrets);
    silent_debug(key, secrets);
    silent_debug(&Some(key), secrets);
    silent_debug(&key.expose_secret(), secrets);
    silent_debug(&key.public_key(), secrets);
    silent(&key.public_key().to_string(), secrets);
    for scheme in key.key_type().schemes() {
        let message: &[u8] = match scheme {
            SigningScheme::BlsPopProve => &[],
            _ => &[7; 32],
        };
        let signature = key.sign(*scheme, message).unwrap();
        silent_debug(&signature, secrets);
    }
    let refused = key.sign(SigningScheme::EcdsaDigest, &secrets[0][1..]).unwrap_err();
    silent_error(&refused, secrets);
}

#[test]
fn an_ed25519_key_shows_neither_its_seed_nor_what_is_made_of_it() {
    let seed = secret();
    let expanded = Sha512::digest(seed);
    let (scalar, prefix) = expanded.split_at(32);
    let typed = Ed25519SecretKey::from_bytes(&seed).unwrap();
    let key = SecretKey::from_bytes(KeyType::Ed25519, &seed).unwrap();
    silent_key(&typed, &key, &[&seed, scalar, prefix]);
}

#[test]
fn a_secp256k1_key_shows_no_secret() {
    let secret = secret();
    let typed = Secp256k1SecretKey::from_bytes(&secret).unwrap();
    let key = SecretKey::from_bytes(KeyType::Secp256k1, &secret).unwrap();
    silent_key(&typed, &key, &[&secret]);
}

#[test]
fn a_bls12_381_key_shows_no_secret() {
    let secret = secret();
    let typed = Bls12381SecretKey::from_bytes(&secret).unwrap();
    let key = SecretKey::from_bytes(KeyType::Bls12381, &secret).unwrap();
    silent_key(&typed, &key, &[&secret]);
}

#[test]
fn a_refusal_does_not_repeat_what_it_refuses() {
    let secret = secret();
    let digits = base16ct::lower::encode_string(&secret);
    let base64 = Base64::encode_string(&secret);
    for key_type in KeyType::ALL {
        for text in [
            digits.clone() + "00",
            digits[1..].to_owned(),
            format!("{}g", &digits[1..]),
            base64.clone(),
        ] {
            let error = SecretKey::from_hex(*key_type, text.as_bytes()).unwrap_err();
            silent_error(&error, &[&secret]);
        }
        let long = [&secret[..], &[0]].concat();
        silent_error(&SecretKey::from_bytes(*key_type, &long).unwrap_err(), &[&secret]);
        // A secret where a document is due, as bytes, in a frame, and as the name of an algorithm.
        let framed = [&[0x30, 34, 4, 32], &secret[..]].concat();
        let named = [&[0x30, 39, 2, 1, 0, 0x30, 34, 6, 32], &secret[..]].concat();
        for der in [&secret[..], &framed, &named] {
            let error = SecretKey::from_pkcs8_der(*key_type, der).unwrap_err();
            silent_error(&error, &[&secret]);
        }
        for text in [
            format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n"),
            format!("-----BEGIN PRIVATE KEY-----\n{base64}!\n-----END PRIVATE KEY-----\n"),
            format!("-----BEGIN {digits}-----\n{base64}\n-----END {digits}-----\n"),
            base64.clone(),
        ] {
            let error = SecretKey::from_pkcs8_pem(*key_type, text.as_bytes()).unwrap_err();
            silent_error(&error, &[&secret]);
        }
    }
    let outside_range = [&[0xff; 16][..], &secret[..16]].concat();
    let error = SecretKey::from_bytes(KeyType::Bls12381, &outside_range).unwrap_err();
    silent_error(&error, &[&secret[..16]]);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let secret = secret();
    let digits = base16ct::lower::encode_string(&secret);
    silent_error(&KeyId::new(format!("{digits}!")).unwrap_err(), &[&secret]);
    silent_error(&KeyId::new(digits.repeat(3)).unwrap_err(), &[&secret]);
    silent_error(&digits.parse::<KeyType>().unwrap_err(), &[&secret]);
    silent_error(&digits.parse::<SigningScheme>().unwrap_err(), &[&secret]);
    let json = format!("\"{digits}\"");
    silent_error(&serde_json::from_str::<KeyType>(&json).unwrap_err(), &[&secret]);
    silent_error(&serde_json::from_str::<SigningScheme>(&json).unwrap_err(), &[&secret]);
}

#[test]
fn a_seed_and_a_mnemonic_show_no_secret() {
    let secret = secret();
    let seed = Seed::from_bytes(&secret).unwrap();
    silent_debug(&seed, &[&secret]);
    let mnemonic = Mnemonic::from_entropy(&secret).unwrap();
    let phrase = mnemonic.phrase();
    silent_debug(&mnemonic, &[&secret, phrase.expose()]);
    let text = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    let (first, rest) = text.split_once(' ').unwrap();
    for text in [&text.to_uppercase(), rest, &format!("{rest} {first}"), &text.replace(' ', "")] {
        let error = Mnemonic::parse(text.as_bytes()).unwrap_err();
        let shown = format!("{error} {error:?}").to_lowercase();
        assert!(rest.split(' ').all(|word| !shown.contains(word)), "{shown}");
    }
    silent_error(&Mnemonic::parse(&secret).unwrap_err(), &[&secret]);
    silent_error(&Mnemonic::from_entropy(&secret[1..]).unwrap_err(), &[&secret]);
    silent_error(&mnemonic.to_seed(&[&[0xff], &secret[..]].concat()).unwrap_err(), &[&secret]);
    let long = secret.repeat(3);
    silent_error(&Seed::from_bytes(&long).unwrap_err(), &[&secret]);
    let digits = base16ct::lower::encode_string(&secret);
    silent_error(&format!("m/{digits}").parse::<DerivationPath>().unwrap_err(), &[&secret]);
    silent_error(&digits.parse::<DerivationPath>().unwrap_err(), &[&secret]);
}

#[test]
fn encrypted_documents_show_no_secret() {
    let secret = secret();
    let digits = base16ct::lower::encode_string(&secret);
    let key = Bls12381SecretKey::from_bytes(&secret).unwrap();
    let keystore =
        Eip2335Keystore::encrypt(&key, digits.as_bytes(), "", Eip2335Kdf::Pbkdf2).unwrap();
    silent_debug(&keystore, &[&secret]);
    silent(str::from_utf8(&keystore.to_json()).unwrap(), &[&secret]);
    silent_error(&keystore.decrypt(&digits.as_bytes()[1..]).unwrap_err(), &[&secret]);
    silent_error(&Eip2335Keystore::from_json(digits.as_bytes()).unwrap_err(), &[&secret]);
    let quoted = format!("\"{digits}\"");
    silent_error(&Eip2335Keystore::from_json(quoted.as_bytes()).unwrap_err(), &[&secret]);

    let key = SecretKey::from_bytes(KeyType::Ed25519, &secret).unwrap();
    silent_debug(&key.to_pkcs8_pem().unwrap(), &[&secret]);
    let pem = key.to_encrypted_pkcs8_pem(digits.as_bytes()).unwrap();
    silent(&pem, &[&secret]);
    let read = |pem: &str, passphrase: &str| {
        let (pem, passphrase) = (pem.as_bytes(), passphrase.as_bytes());
        SecretKey::from_encrypted_pkcs8_pem(KeyType::Ed25519, pem, passphrase).unwrap_err()
    };
    silent_error(&read(&pem, &digits[1..]), &[&secret]);
    silent_error(&read(&digits, &digits), &[&secret]);
}

#[test]
fn an_operator_s_refusal_shows_no_secret() {
    let secret = secret();
    let key = SecretKey::from_bytes(KeyType::Ed25519, &secret).unwrap();
    let run = |key: SecretRef<'_>, input: &[u8]| {
        X25519Operator.run(key, input, &mut Vec::new()).unwrap_err()
    };
    for error in [run(key.expose_secret(), &secret[1..]), run(key.expose_secret(), &[0; 32])] {
        silent_error(&error, &[&secret]);
    }
    let other = SecretKey::from_bytes(KeyType::Bls12381, &secret).unwrap();
    let error = run(other.expose_secret(), &secret);
    assert!(matches!(error, OperatorError::WrongKeyType { .. }));
    silent_error(&error, &[&secret]);
}

#[test]
fn the_detector_finds_every_planted_leak() {
    #[derive(Debug)]
    struct Leaky<'a>(#[expect(dead_code, reason = "printed by the derived Debug")] &'a [u8]);

    let secret = secret();
    let backwards: Vec<u8> = secret.iter().rev().copied().collect();
    let shown = |text: &dyn Display| format!("before {text} after");
    for bytes in [&secret[..], &backwards] {
        for text in [
            shown(&base16ct::lower::encode_string(bytes)),
            shown(&base16ct::upper::encode_string(bytes)),
            shown(&Base64::encode_string(bytes)),
            shown(&Base64Url::encode_string(bytes)),
            shown(&bs58::encode(bytes).into_string()),
            format!("{:?}", Leaky(bytes)),
            format!("{:#?}", Leaky(bytes)),
            format!("{:02x?}", &bytes[10..20]).replace(", ", ""),
            format!("{:#04x?}", &bytes[..8]),
            shown(&base16ct::lower::encode_string(&bytes[20..26])),
        ] {
            assert!(leaks(&text, &secret), "{text}");
        }
    }
    assert!(!leaks("before after", &secret));
    assert!(!leaks(&base16ct::lower::encode_string(&[0x5b; 32]), &secret));
}
