//! What is looked for: secrets, in every spelling in which they could lie in memory or stand in text.

use base64ct::{Base64Unpadded, Encoding};
use kms_keys::{KeyType, SecretKey};
use sha2::{Digest, Sha512};

/// A secret in one of the spellings in which it could lie in memory.
#[derive(Clone)]
pub struct Needle {
    /// Whose secret it is, which part, and how it is spelt.
    pub name: String,
    pub(super) bytes: Vec<u8>,
}

/// Every spelling of a key's secret and, for Ed25519, of its scalar and prefix (RFC 8032): in halves of
/// 16 bytes; forwards and backwards, as libraries keep numbers; raw, in hexadecimal of both cases, in
/// base64 wherever it begins, and as a list of numbers, as `Debug` has it.
#[must_use]
pub fn needles_of_key(name: &str, key: &SecretKey) -> Vec<Needle> {
    let secret = key.expose_secret().expose();
    let mut needles = needles(name, secret);
    if key.key_type() == KeyType::Ed25519 {
        let mut hash = Sha512::digest(secret);
        needles.extend(self::needles(&format!("{name} hash"), &hash));
        hash[0] &= 0xf8;
        hash[31] = hash[31] & 0x7f | 0x40;
        needles.extend(self::needles(&format!("{name} clamped scalar"), &hash[..32]));
        // The library keeps it reduced by the group order.
        let at_rest = key.at_rest();
        needles.extend(self::needles(&format!("{name} scalar"), &at_rest.expose()[64..96]));
    }
    needles
}

/// Every spelling of `secret`, in its whole parts of 16 bytes.
#[must_use]
pub fn needles(name: &str, secret: &[u8]) -> Vec<Needle> {
    let backwards: Vec<u8> = secret.iter().rev().copied().collect();
    let mut needles = Vec::new();
    for (order, bytes) in [("forwards", secret), ("backwards", &backwards)] {
        for (part, half) in bytes.chunks_exact(16).enumerate() {
            let mut add = |spelling: &str, bytes: Vec<u8>| {
                needles.push(Needle { name: format!("{name} {order}/{part} {spelling}"), bytes });
            };
            add("raw", half.to_vec());
            add("as numbers", format!("{half:?}").trim_matches(['[', ']']).into());
            add("hex", base16ct::lower::encode_string(half).into_bytes());
            add("HEX", base16ct::upper::encode_string(half).into_bytes());
            for offset in 0..3 {
                // Characters that hold bits of what stands before or behind are left out.
                let text = Base64Unpadded::encode_string(&[&vec![0; offset], half].concat());
                let (from, to) = ((offset * 8).div_ceil(6), (offset + 16) * 8 / 6);
                add(&format!("base64+{offset}"), text.as_bytes()[from..to].to_vec());
            }
        }
    }
    needles
}
