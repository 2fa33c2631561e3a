//! The two test cases of EIP-2335: one secret under scrypt and under PBKDF2.

use kms_keys::{Eip2335Error, Eip2335Keystore, SecretKey};

use crate::common::hex;

const PASSWORD: &str = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑";
const SECRET: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
const PUBLIC: &str = concat!(
    "9612d7a727c9d0a22e185a1c768478dfe919cada9266988c",
    "b32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07",
);

const SCRYPT: &str = r#"{
    "crypto": {
        "kdf": {
            "function": "scrypt",
            "params": {
                "dklen": 32,
                "n": 262144,
                "p": 1,
                "r": 8,
                "salt": "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
            },
            "message": ""
        },
        "checksum": {
            "function": "sha256",
            "params": {},
            "message": "d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484"
        },
        "cipher": {
            "function": "aes-128-ctr",
            "params": { "iv": "264daa3f303d7259501c93d997d84fe6" },
            "message": "06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f"
        }
    },
    "description": "This is a test keystore that uses scrypt to secure the secret.",
    "pubkey": "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07",
    "path": "m/12381/60/3141592653/589793238",
    "uuid": "1d85ae20-35c5-4611-98e8-aa14a633906f",
    "version": 4
}"#;

const PBKDF2: &str = r#"{
    "crypto": {
        "kdf": {
            "function": "pbkdf2",
            "params": {
                "dklen": 32,
                "c": 262144,
                "prf": "hmac-sha256",
                "salt": "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
            },
            "message": ""
        },
        "checksum": {
            "function": "sha256",
            "params": {},
            "message": "8a9f5d9912ed7e75ea794bc5a89bca5f193721d30868ade6f73043c6ea6febf1"
        },
        "cipher": {
            "function": "aes-128-ctr",
            "params": { "iv": "264daa3f303d7259501c93d997d84fe6" },
            "message": "cee03fde2af33149775b7223e7845e4fb2c8ae1792e5f99fe9ecf474cc8c16ad"
        }
    },
    "description": "This is a test keystore that uses PBKDF2 to secure the secret.",
    "pubkey": "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07",
    "path": "m/12381/60/0/0",
    "uuid": "64625def-3331-4eea-ab6f-782f3ed16a83",
    "version": 4
}"#;

fn read(json: &str) -> Eip2335Keystore {
    Eip2335Keystore::from_json(json.as_bytes()).unwrap()
}

#[track_caller]
fn check(json: &str, path: &str, uuid: &str, memory_bytes: u64) {
    let keystore = read(json);
    assert_eq!((keystore.path(), keystore.uuid()), (path, uuid));
    assert_eq!(keystore.memory_bytes(), memory_bytes);
    assert!(keystore.description().unwrap().starts_with("This is a test keystore"));
    assert_eq!(keystore.public_key().unwrap().to_bytes()[..], hex(PUBLIC));
    let key = SecretKey::from(keystore.decrypt(PASSWORD.as_bytes()).unwrap());
    assert_eq!(key.expose_secret().expose()[..], hex(SECRET));
    let ours: serde_json::Value = serde_json::from_slice(&keystore.to_json()).unwrap();
    assert_eq!(ours, serde_json::from_str::<serde_json::Value>(json).unwrap());
}

#[test]
fn eip_2335_scrypt() {
    let uuid = "1d85ae20-35c5-4611-98e8-aa14a633906f";
    check(SCRYPT, "m/12381/60/3141592653/589793238", uuid, (256 << 20) + 2048);
}

#[test]
fn eip_2335_pbkdf2() {
    check(PBKDF2, "m/12381/60/0/0", "64625def-3331-4eea-ab6f-782f3ed16a83", 0);
}

#[test]
fn the_password_counts_in_its_normalised_form() {
    let keystore = read(PBKDF2);
    assert!(keystore.decrypt("test\npassword\u{7f}🔑".as_bytes()).is_ok());
}

/// Under one round less, other ciphertext, checksum, salt or password, nothing is decrypted.
#[test]
fn a_damaged_keystore_looks_as_if_the_password_were_wrong() {
    for (good, damaged) in [
        ("262144", "262143"),
        ("cee03fde", "cee03fdf"),
        ("8a9f5d99", "8a9f5d98"),
        ("d4e56740", "d4e56741"),
    ] {
        let error = read(&PBKDF2.replace(good, damaged)).decrypt(PASSWORD.as_bytes()).unwrap_err();
        assert_eq!(error, Eip2335Error::WrongPassword, "{good}");
    }
    for password in ["", "testpassword", "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡"] {
        let error = read(PBKDF2).decrypt(password.as_bytes()).unwrap_err();
        assert_eq!(error, Eip2335Error::WrongPassword, "{password}");
    }
    let error = read(PBKDF2).decrypt(b"\xff").unwrap_err();
    assert_eq!(error, Eip2335Error::PasswordNotUtf8);
}

/// The counter block is not covered by the checksum, so another key comes out: the public key tells.
#[test]
fn a_public_key_of_another_key_is_refused() {
    let json = PBKDF2.replace("264daa3f", "264daa3e");
    let error = read(&json).decrypt(PASSWORD.as_bytes()).unwrap_err();
    assert!(matches!(error, Eip2335Error::PublicKeyMismatch | Eip2335Error::NotAKey(_)));
    let generator = concat!(
        "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905",
        "a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb",
    );
    let error = read(&PBKDF2.replace(PUBLIC, generator)).decrypt(PASSWORD.as_bytes()).unwrap_err();
    assert_eq!(error, Eip2335Error::PublicKeyMismatch);
    let unnamed = PBKDF2.replace("\"pubkey\"", "\"unknown\"");
    assert!(read(&unnamed).public_key().is_none());
    assert!(read(&unnamed).decrypt(PASSWORD.as_bytes()).is_ok());
}
