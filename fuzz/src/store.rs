//! What stands in clear in a store's file.

use std::fmt::Debug;

use kms_backend_keystore::{
    StoreError, StoredKey, StoredMaster, Unlocker, inspect_header, inspect_master, inspect_record,
};
use kms_keys::PublicKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A record: the length of its name in one byte, the name, the record.
pub fn record(data: &[u8]) -> bool {
    let Some((name, bytes)) = named(data) else {
        return false;
    };
    let info = inspect_record(name, bytes);
    if let Ok(info) = &info {
        assert!(info.version > 0);
        assert_eq!(name, [info.id.as_str().as_bytes(), &[0], &info.version.to_be_bytes()].concat());
        let written = rewritten::<StoredKey>(info, bytes);
        assert_eq!(inspect_record(name, &written).unwrap(), *info);
        if let Ok(public_key) = info.public_key() {
            let again = PublicKey::from_hex(info.key_type, &public_key.to_hex());
            assert_eq!(again.as_ref(), Ok(&public_key));
        }
    }
    accepted(&info)
}

/// A master: the length of its name in one byte, the name, the master.
pub fn master(data: &[u8]) -> bool {
    let Some((name, bytes)) = named(data) else {
        return false;
    };
    let info = inspect_master(name, bytes);
    if let Ok(info) = &info {
        assert_eq!(name, info.id.as_str().as_bytes());
        let written = rewritten::<StoredMaster>(info, bytes);
        assert_eq!(inspect_master(name, &written).unwrap(), *info);
    }
    accepted(&info)
}

/// A header.
pub fn header(data: &[u8]) -> bool {
    let unlockers = inspect_header(data);
    if let Ok(unlockers) = &unlockers {
        assert!((1..=16).contains(&unlockers.len()));
        let unlockers: Vec<Unlocker> = read_back(unlockers);
        let written = serde_json::json!({
            "version": 1,
            "store": "00112233445566778899aabbccddeeff",
            "unlockers": unlockers,
        });
        let again = inspect_header(written.to_string().as_bytes());
        assert_eq!(again.unwrap(), unlockers);
    }
    accepted(&unlockers)
}

fn named(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first()?;
    rest.split_at_checked((*len).into())
}

/// The record with its part in clear written anew.
fn rewritten<T>(info: &T, bytes: &[u8]) -> Vec<u8>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let (len, rest) = bytes.split_first_chunk().expect("what was read has a length");
    let sealed = &rest[usize::try_from(u32::from_be_bytes(*len)).unwrap()..];
    let clear = serde_json::to_vec(&read_back(info)).unwrap();
    [&u32::try_from(clear.len()).unwrap().to_be_bytes()[..], &clear, sealed].concat()
}

/// `value` written as JSON and read, which must give the same again.
fn read_back<T>(value: &T) -> T
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let again: T = serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap();
    assert_eq!(again, *value);
    again
}

fn accepted<T>(read: &Result<T, StoreError>) -> bool {
    read.as_ref().inspect_err(|error| assert!(!error.to_string().is_empty())).is_ok()
}
