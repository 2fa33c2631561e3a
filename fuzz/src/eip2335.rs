//! Keystores of Ethereum validators.

use kms_keys::{Eip2335Error, Eip2335Keystore};
use serde::Deserialize;

/// The password of EIP-2335's own test cases.
const PASSWORD: &str = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑";

/// The largest document that is read.
const MOST_BYTES: usize = 64 * 1024;

/// A keystore in JSON. It is decrypted only where that costs next to nothing.
pub fn eip2335(data: &[u8]) -> bool {
    let keystore = match Eip2335Keystore::from_json(data) {
        Ok(keystore) => keystore,
        Err(error) => {
            assert!(!matches!(error, Eip2335Error::TooLarge { .. }) || data.len() > MOST_BYTES);
            return false;
        }
    };
    assert!(data.len() <= MOST_BYTES);
    let cost = Cost::of(data);
    cost.check(&keystore);
    read_back(&keystore);
    if cost.is_tiny() {
        decrypt(&keystore);
    }
    true
}

/// What the document says, read by somebody else.
enum Cost {
    Scrypt { n: u64, r: u64, p: u64 },
    Pbkdf2 { c: u64 },
}

#[derive(Deserialize)]
struct Document {
    crypto: Crypto,
}

#[derive(Deserialize)]
struct Crypto {
    kdf: Kdf,
}

#[derive(Deserialize)]
struct Kdf {
    function: String,
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    n: Option<u64>,
    r: Option<u64>,
    p: Option<u64>,
    c: Option<u64>,
}

impl Cost {
    fn of(data: &[u8]) -> Self {
        let text = str::from_utf8(data).expect("what was read is text");
        let document: Document = serde_json::from_str(text).expect("what was read is JSON");
        let Kdf { function, params: Params { n, r, p, c } } = document.crypto.kdf;
        match function.as_str() {
            "scrypt" => Self::Scrypt { n: n.unwrap(), r: r.unwrap(), p: p.unwrap() },
            _ => Self::Pbkdf2 { c: c.unwrap() },
        }
    }

    /// Whether no machine is asked for more than it has.
    fn check(&self, keystore: &Eip2335Keystore) {
        match *self {
            Self::Scrypt { n, r, p } => {
                assert!(n.is_power_of_two() && n >= 2 && r > 0 && p > 0);
                let memory = n.checked_mul(r).and_then(|blocks| blocks.checked_mul(128));
                let memory = memory.expect("a cost that fits in 64 bits");
                assert!(memory <= 512 << 20, "{memory} bytes");
                assert!(memory.checked_mul(p).is_some_and(|work| work <= 1 << 30), "{p} times");
                // And a few blocks more.
                assert!((memory..memory + (1 << 20)).contains(&keystore.memory_bytes()));
            }
            Self::Pbkdf2 { c } => {
                assert!((1..=20_000_000).contains(&c), "{c} rounds");
                assert_eq!(keystore.memory_bytes(), 0);
            }
        }
    }

    fn is_tiny(&self) -> bool {
        match *self {
            Self::Scrypt { n, r, p } => n <= 1024 && r * p <= 8,
            Self::Pbkdf2 { c } => c <= 1024,
        }
    }
}

fn read_back(keystore: &Eip2335Keystore) {
    let written = keystore.to_json();
    let again = match Eip2335Keystore::from_json(&written) {
        Ok(again) => again,
        // Written with spaces and line breaks, it can be larger than it was.
        Err(Eip2335Error::TooLarge { .. }) => return,
        Err(error) => panic!("a keystore that was read: {error}"),
    };
    assert_eq!(again.to_json(), written);
    assert_eq!(again.path(), keystore.path());
    assert_eq!(again.uuid(), keystore.uuid());
    assert_eq!(again.description(), keystore.description());
    assert_eq!(again.public_key(), keystore.public_key());
    assert_eq!(again.memory_bytes(), keystore.memory_bytes());
}

fn decrypt(keystore: &Eip2335Keystore) {
    match keystore.decrypt(PASSWORD.as_bytes()) {
        Ok(key) => {
            assert!(keystore.public_key().is_none_or(|claimed| claimed == key.public_key()));
        }
        Err(
            Eip2335Error::WrongPassword
            | Eip2335Error::NotAKey(_)
            | Eip2335Error::PublicKeyMismatch,
        ) => {}
        Err(error) => panic!("a keystore that was read: {error}"),
    }
}
