//! Looking for secrets in the memory of another process.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use base64ct::{Base64Unpadded, Encoding};
use kms_keys::{KeyType, SecretKey};
use sha2::{Digest, Sha512};

/// The store of `key-holder` that a key file opens, and that it imports a key into.
pub const KEY_FILE_STORE: &str = "by-key-file";

/// A secret in one of the spellings in which it could lie in memory.
#[derive(Clone)]
pub struct Needle {
    /// Whose secret it is, which part, and how it is spelt.
    pub name: String,
    bytes: Vec<u8>,
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

/// Needles by their first two bytes.
pub struct Search<'n>(Vec<Vec<&'n Needle>>);

impl<'n> Search<'n> {
    /// A search for `needles`.
    #[must_use]
    pub fn new(needles: &'n [Needle]) -> Self {
        let mut by_start: Vec<Vec<&Needle>> = Vec::new();
        by_start.resize_with(1 << 16, Vec::new);
        for needle in needles {
            by_start[start(&needle.bytes)].push(needle);
        }
        Self(by_start)
    }

    /// The names of the needles that lie in `bytes`, each with the place where.
    pub fn of(&self, bytes: &[u8], mut place: impl FnMut(usize) -> String) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for at in 0..bytes.len().saturating_sub(1) {
            let rest = &bytes[at..];
            for needle in &self.0[start(rest)] {
                if rest.starts_with(&needle.bytes) {
                    found.insert(format!("{} in {}", needle.name, place(at)));
                }
            }
        }
        found
    }

    /// The names of the needles that lie in the memory of process `pid`, each with the mapping where.
    /// Memory that the kernel doesn't give to anybody is passed over; how much was read is told as well,
    /// in bytes.
    #[must_use]
    pub fn of_process(&self, pid: u32) -> (BTreeSet<String>, usize) {
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
            let place = words.get(5).copied().unwrap_or(words[0]);
            found.extend(self.of(&bytes, |at| format!("{place} at {:#x}", from + at as u64)));
        }
        (found, read)
    }
}

fn start(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}
