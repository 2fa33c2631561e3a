//! Every file of every corpus, and what random damage makes of it.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use kms_fuzz::TARGETS;
use proptest::prelude::*;
use proptest::sample::Index;

/// The files of a corpus by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(corpora().join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in the corpus of {target}");
    files
}

fn corpora() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn each_target_has_a_corpus_and_each_corpus_a_target() {
    let folders = fs::read_dir(corpora()).unwrap();
    let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let targets = TARGETS.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(folders.collect::<BTreeSet<_>>(), targets.collect());
}

/// Files called `good-…` must be accepted and files called `bad-…` refused; of the others only what
/// holds of all bytes is expected.
#[test]
fn every_file_is_replayed() {
    for (target, check) in TARGETS {
        let (mut good, mut bad) = (0, 0);
        for (name, content) in corpus(target) {
            println!("{target}/{name}");
            let accepted = check(&content);
            if name.starts_with("good-") {
                good += 1;
                assert!(accepted, "{target}/{name} was refused");
            } else if name.starts_with("bad-") {
                bad += 1;
                assert!(!accepted, "{target}/{name} was accepted");
            }
        }
        assert!(good > 0 && bad > 0, "{target}: {good} good files and {bad} bad ones");
    }
}

/// One change to a file. Places are fractions of its length.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index, Index),
    /// A piece of another file of the corpus comes in.
    Splice(Index, Index, Index, Index),
    Repeat(Index, Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (place(), place()).prop_map(|(from, to)| Damage::Cut(from, to)),
        (place(), place(), place(), place())
            .prop_map(|(at, file, from, to)| Damage::Splice(at, file, from, to)),
        (place(), place(), 1..8_usize)
            .prop_map(|(from, to, times)| Damage::Repeat(from, to, times)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>, files: &[(String, Vec<u8>)]) {
        match self {
            Self::Flip(at, bit) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << bit;
                }
            }
            Self::Cut(from, to) => drop(bytes.drain(range(bytes, from, to))),
            Self::Splice(at, file, from, to) => {
                let other = &files[file.index(files.len())].1;
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, other[range(other, from, to)].iter().copied());
            }
            Self::Repeat(from, to, times) => {
                let range = range(bytes, from, to);
                let piece = bytes[range.clone()].repeat(*times);
                bytes.splice(range, piece);
            }
        }
        bytes.truncate(16 * 1024);
    }
}

fn range(bytes: &[u8], from: &Index, to: &Index) -> std::ops::Range<usize> {
    let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
    from.min(to)..from.max(to)
}

/// A few thousand damaged files; a minute of `cargo fuzz` tries millions.
fn damaged(target: &str) {
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let files = corpus(target);
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() };
    proptest!(config, |(file: Index, damages in prop::collection::vec(damage(), 1..5))| {
        let mut bytes = file.get(&files).1.clone();
        damages.iter().for_each(|damage| damage.apply(&mut bytes, &files));
        check(&bytes);
    });
}

macro_rules! damaged {
    ($($target:ident)+) => {
        /// What random damage makes of the files of each corpus.
        mod damaged {
            $(
                #[test]
                fn $target() {
                    super::damaged(stringify!($target));
                }
            )+

            #[test]
            fn none_is_left_out() {
                let targets: Vec<_> = kms_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
                assert_eq!([$(stringify!($target)),+].as_slice(), targets);
            }
        }
    };
}

damaged! {
    eip2335 encrypted_pkcs8 header key_id master mnemonic path pkcs8 public_key record secret_text
    settings
}
