//! Writes the damaged files of the corpora: every `good-*` file, cut, flipped and otherwise made
//! bad. Run from anywhere, after a good file was added: `cargo run -p kms-fuzz --example damage`.

use std::error::Error;
use std::path::Path;
use std::{fs, str};

/// How a file is damaged, and the name of it.
type Damage = (&'static str, fn(&[u8]) -> Vec<u8>);

/// What is done to every good file.
const EVERY: &[Damage] = &[("cut", |good| good[..good.len() / 2].to_vec())];

/// What is done to the first good file of a corpus.
const FIRST: &[Damage] = &[
    ("flipped", flipped),
    ("short", |good| good[..good.len() - 1].to_vec()),
    ("twice", |good| [good, good].concat()),
    ("not-utf8", |good| inserted(good, b"\xff\xc0")),
    ("zero", |good| inserted(good, b"\0")),
    ("deep", |good| inserted(good, &b"[{\"a\":".repeat(500))),
    ("huge", |good| grown(good, b"340282366920938463463374607431768211456")),
    ("negative", |good| grown(good, b"-1")),
    ("windows", windows),
    ("spaced", |good| [b"\n\t ", good, b" \r\n\n"].concat()),
];

fn main() -> Result<(), Box<dyn Error>> {
    for (target, _) in kms_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut good = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let name = entry?.file_name().into_string().map_err(|_| "a name that is no text")?;
            if let Some(name) = name.strip_prefix("good-") {
                good.push(name.to_owned());
            }
        }
        good.sort();
        for (at, name) in good.iter().enumerate() {
            let content = fs::read(folder.join(format!("good-{name}")))?;
            let first = if at == 0 { FIRST } else { &[] };
            for (how, damage) in EVERY.iter().chain(first) {
                fs::write(folder.join(format!("{how}-{name}")), damage(&content))?;
            }
        }
        fs::write(folder.join("empty"), [])?;
    }
    Ok(())
}

fn flipped(good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

fn inserted(good: &[u8], what: &[u8]) -> Vec<u8> {
    let (front, back) = good.split_at(good.len() / 2);
    [front, what, back].concat()
}

/// The last number is another.
fn grown(good: &[u8], number: &[u8]) -> Vec<u8> {
    let Some(last) = good.iter().rposition(u8::is_ascii_digit) else {
        return inserted(good, number);
    };
    let first = good[..last].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    [&good[..first], number, &good[last + 1..]].concat()
}

fn windows(good: &[u8]) -> Vec<u8> {
    match str::from_utf8(good) {
        Ok(text) => text.replace('\n', "\r\n").into_bytes(),
        Err(_) => [b"\xef\xbb\xbf", good].concat(),
    }
}
