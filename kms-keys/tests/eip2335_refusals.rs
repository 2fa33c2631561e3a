//! What is refused as an EIP-2335 keystore, and that it is refused before anything is computed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

use std::time::{Duration, Instant};

use kms_keys::{Eip2335Error, Eip2335Keystore};
use proptest::prelude::*;
use serde_json::{Value, json};

fn keystore() -> Value {
    json!({
        "crypto": {
            "kdf": {
                "function": "scrypt",
                "params": { "dklen": 32, "n": 2, "r": 8, "p": 1, "salt": "00".repeat(32) },
                "message": "",
            },
            "checksum": { "function": "sha256", "params": {}, "message": "00".repeat(32) },
            "cipher": {
                "function": "aes-128-ctr",
                "params": { "iv": "00".repeat(16) },
                "message": "00".repeat(32),
            },
        },
        "path": "",
        "uuid": "1d85ae20-35c5-4611-98e8-aa14a633906f",
        "version": 4,
    })
}

fn pbkdf2() -> Value {
    let params = json!({ "dklen": 32, "c": 1000, "prf": "hmac-sha256", "salt": "00".repeat(32) });
    with(
        keystore(),
        "/crypto/kdf",
        json!({ "function": "pbkdf2", "params": params, "message": "" }),
    )
}

fn with(mut keystore: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    keystore.pointer_mut(parent).unwrap()[field] = value;
    keystore
}

fn without(mut keystore: Value, pointer: &str) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = keystore.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    parent.remove(field).unwrap();
    keystore
}

fn read(keystore: &Value) -> Result<Eip2335Keystore, Eip2335Error> {
    Eip2335Keystore::from_json(keystore.to_string().as_bytes())
}

#[test]
fn the_keystores_that_are_bent_here_are_good_as_they_are() {
    for good in [keystore(), pbkdf2()] {
        let read = read(&good).unwrap();
        assert_eq!(read.decrypt(b"").unwrap_err(), Eip2335Error::WrongPassword);
    }
    for (pointer, value) in [
        ("/name", json!("of another tool")),
        ("/crypto/kdf/params/more", json!([1])),
        ("/crypto/checksum/params", json!({ "more": 1 })),
        ("/description", json!(null)),
    ] {
        assert!(read(&with(keystore(), pointer, value)).is_ok(), "{pointer}");
    }
}

#[test]
fn a_missing_field_is_named() {
    let fields =
        ["crypto", "crypto.kdf", "crypto.checksum", "crypto.cipher", "path", "uuid", "version"];
    let scrypt = ["dklen", "n", "r", "p", "salt"].map(|name| format!("crypto.kdf.params.{name}"));
    for field in fields.map(str::to_owned).into_iter().chain(scrypt) {
        let pointer = format!("/{}", field.replace('.', "/"));
        let error = read(&without(keystore(), &pointer)).unwrap_err();
        assert_eq!(error.to_string(), format!("field {field} is missing"));
    }
    for name in ["dklen", "c", "prf", "salt"] {
        let error = read(&without(pbkdf2(), &format!("/crypto/kdf/params/{name}"))).unwrap_err();
        assert_eq!(error.to_string(), format!("field crypto.kdf.params.{name} is missing"));
    }
}

#[test]
fn another_value_is_refused_by_field() {
    let field = |field: &str| field.trim_start_matches('/').replace('/', ".");
    for (pointer, value) in [
        ("/version", json!(3)),
        ("/uuid", json!("none")),
        ("/crypto/kdf/function", json!("argon2id")),
        ("/crypto/kdf/params/dklen", json!(64)),
        ("/crypto/kdf/params/salt", json!("")),
        ("/crypto/kdf/params/salt", json!("00".repeat(7))),
        ("/crypto/kdf/params/salt", json!("00".repeat(65))),
        ("/crypto/kdf/params/salt", json!("zz".repeat(32))),
        ("/crypto/checksum/function", json!("sha512")),
        ("/crypto/checksum/message", json!("")),
        ("/crypto/cipher/function", json!("aes-256-ctr")),
        ("/crypto/cipher/params/iv", json!("00".repeat(12))),
        ("/crypto/cipher/message", json!("00".repeat(31))),
        ("/crypto/cipher/message", json!("00".repeat(64))),
    ] {
        let error = read(&with(keystore(), pointer, value)).unwrap_err();
        let Eip2335Error::BadValue { field: named, .. } = error else { panic!("{error}") };
        assert_eq!(named, field(pointer));
    }
    let error = read(&with(pbkdf2(), "/crypto/kdf/params/prf", json!("hmac-sha1"))).unwrap_err();
    assert!(matches!(error, Eip2335Error::BadValue { field: "crypto.kdf.params.prf", .. }));
    for value in ["", "00", &"00".repeat(48)] {
        let error = read(&with(keystore(), "/pubkey", json!(value))).unwrap_err();
        assert!(matches!(error, Eip2335Error::BadPublicKey(_)), "{value}");
    }
}

#[test]
fn hostile_costs_are_refused_at_once() {
    let started = Instant::now();
    for (name, value) in [
        ("n", json!(1_u64 << 62)),
        ("n", json!(1 << 24)),
        ("n", json!(262_143)),
        ("n", json!(0)),
        ("n", json!(1)),
        ("r", json!(u64::MAX)),
        ("r", json!(0)),
        ("p", json!(1 << 30)),
        ("p", json!(0)),
    ] {
        let keystore = with(keystore(), &format!("/crypto/kdf/params/{name}"), value);
        assert!(matches!(read(&keystore), Err(Eip2335Error::CostRefused { .. })), "{name}");
    }
    for rounds in [0, 20_000_001, u64::from(u32::MAX) + 1, u64::MAX] {
        let keystore = with(pbkdf2(), "/crypto/kdf/params/c", json!(rounds));
        assert!(matches!(read(&keystore), Err(Eip2335Error::CostRefused { .. })), "{rounds}");
    }
    // Far less than any of the large ones takes.
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_is_no_keystore_is_refused_by_position() {
    for text in
        ["", "{", "[]", "null", "{\"version\":-4}", "{\"version\":4}{}", "{\"crypto\":\"x\"}"]
    {
        let error = Eip2335Keystore::from_json(text.as_bytes()).unwrap_err();
        assert!(matches!(error, Eip2335Error::Malformed { .. }), "{text}: {error}");
    }
    let twice = keystore().to_string().replacen('{', "{\"path\":\"m/0\",", 1);
    let error = Eip2335Keystore::from_json(twice.as_bytes()).unwrap_err();
    assert!(matches!(error, Eip2335Error::Malformed { line: 1, .. }), "{error}");
    // Even in a field that is ignored.
    let text = keystore().to_string();
    let binary = [b"{\n\"unknown\":\"\xe5\xff\",", &text.as_bytes()[1..]].concat();
    let error = Eip2335Keystore::from_json(&binary).unwrap_err();
    assert_eq!(error, Eip2335Error::Malformed { line: 2, column: 12 });
    let large = with(keystore(), "/description", json!("x".repeat(64 * 1024)));
    assert!(matches!(read(&large), Err(Eip2335Error::TooLarge { most: 65_536, .. })));
    let nested = "[".repeat(60_000);
    assert!(Eip2335Keystore::from_json(nested.as_bytes()).is_err());
}

#[test]
fn an_error_does_not_repeat_the_document() {
    let pasted = "4a5f9d3c2b1e8f7a6d5c4b3a29181706";
    for value in [
        with(keystore(), "/version", json!(pasted)),
        with(keystore(), "/uuid", json!(pasted)),
        with(keystore(), "/pubkey", json!(pasted)),
        with(keystore(), "/crypto/kdf/function", json!(pasted)),
        with(keystore(), "/crypto/cipher/message", json!(pasted)),
        json!(pasted),
    ] {
        let error = read(&value).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&pasted[..8]), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        prop_assert!(Eip2335Keystore::from_json(&bytes).is_err());
    }

    #[test]
    fn a_keystore_with_one_byte_changed_is_read_or_refused(at: prop::sample::Index, byte: u8) {
        let mut json = keystore().to_string().into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(read) = Eip2335Keystore::from_json(&json) {
            prop_assert_eq!(read.decrypt(b"").unwrap_err(), Eip2335Error::WrongPassword);
        }
    }
}
