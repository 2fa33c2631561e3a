//! Looking for secrets in the memory of another process.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use base64ct::{Base64Unpadded, Encoding};
use kms_keys::{KeyType, SecretKey};
use sha2::{Digest, Sha512};

/// The environment variable with the passphrase of the store that `key-holder` opens by one.
pub const PASSPHRASE: &str = "KEY_HOLDER_PASSPHRASE";

/// The environment variable with the key of this type that `key-holder` takes from there.
#[must_use]
pub fn variable(key_type: KeyType) -> String {
    format!("KEY_HOLDER_{key_type}")
}

/// A secret in one of the spellings in which it could lie in memory.
pub struct Needle {
    /// Whose secret it is, which part, and how it is spelt.
    pub name: String,
    bytes: Vec<u8>,
}

/// Every spelling of a key's secret and, for Ed25519, of its scalar and prefix (RFC 8032): in halves of
/// 16 bytes; forwards and backwards, as libraries keep numbers; raw, in hexadecimal of both cases, and
/// in base64 wherever it begins.
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

/// Every spelling of `secret`, whose length is a multiple of 16 bytes.
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

/// The names of the needles that lie in the memory of process `pid`, each with the mapping where.
/// Memory that the kernel doesn't give to anybody is passed over; how much was read is told as well,
/// in bytes.
#[must_use]
pub fn search(pid: u32, needles: &[Needle]) -> (BTreeSet<String>, usize) {
    let mut by_start: Vec<Vec<&Needle>> = Vec::new();
    by_start.resize_with(1 << 16, Vec::new);
    for needle in needles {
        by_start[start(&needle.bytes)].push(needle);
    }
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let (mut found, mut read) = (BTreeSet::new(), 0);
    for line in maps.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let (from, to) = words[0].split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (number(from), number(to));
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if !words[1].starts_with('r') || memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        read += bytes.len();
        for at in 0..bytes.len() - 1 {
            let rest = &bytes[at..];
            for needle in &by_start[start(rest)] {
                if rest.starts_with(&needle.bytes) {
                    let place = words.get(5).copied().unwrap_or("no file");
                    let address = from + at as u64;
                    found.insert(format!("{} in {place} at {address:#x}", needle.name));
                }
            }
        }
    }
    (found, read)
}

fn start(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}
