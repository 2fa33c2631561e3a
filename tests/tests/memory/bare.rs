//! Secrets that nothing guards: as the libraries keep them, as bytes, and as text. They must be found.

use std::collections::BTreeSet;

use base64ct::{Base64, Encoding as _};
use kms_keys::KeyType;
use kms_tests::memory::Reading;

use crate::holder::Done;
use crate::scene::Scene;

/// A file of what `key-holder` is to hold, and the needles that must be found in just that memory.
struct Bare {
    file: String,
    content: Vec<u8>,
    expected: Vec<String>,
}

/// All that is held without a guard.
pub struct AllBare(Vec<Bare>);

impl AllBare {
    /// Lays out what there is to hold for `key-holder`.
    pub fn lay_out(scene: &Scene) -> Self {
        let mut all = library_keys(scene);
        let is_key = |name: &str| KeyType::ALL.iter().any(|one| name.contains(one.as_str()));
        let mut secrets = scene.secrets_of_stores();
        secrets.retain(|(name, _)| !is_key(name));
        secrets.extend(scene.secrets.iter().cloned());
        for (name, secret) in &secrets {
            let halves = 0..secret.len() / 16;
            let expected = halves.map(|half| format!("{name} forwards/{half} raw")).collect();
            all.push(("bytes", secret.clone(), expected));
        }
        for key in &scene.bare {
            let name = format!("raw {}", key.key_type());
            all.extend(texts(&name, key.expose_secret().expose()));
        }
        for kind in [
            "by-key-file store key",
            "by-file derived from its passphrase or key file",
            "derived from the passphrase of eip2335-scrypt.bls12-381",
            "derived from the passphrase of pkcs8.ed25519",
            "what opens by-file",
        ] {
            let held = secrets.iter().find(|(name, _)| name == kind).expect(kind);
            all.extend(texts(kind, &held.1));
        }
        let all = all.into_iter().enumerate().map(|(number, (form, content, expected))| {
            let file = format!("{number}.{form}");
            scene.write(&format!("bare/{file}"), &content);
            Bare { file, content, expected }
        });
        Self(all.collect())
    }

    /// All of it must have been found, each where `held` says that it lies.
    pub fn is_found(&self, held: &Done, reading: &Reading) {
        for Bare { file, expected, .. } in &self.0 {
            let [address, len] = ["address", "len"].map(|what| held[&format!("{file} {what}")]);
            let here: BTreeSet<_> = reading
                .found
                .iter()
                .filter(|found| (address..address + len).contains(&found.address))
                .map(|found| &found.needle)
                .collect();
            for needle in expected {
                assert!(here.contains(needle), "{needle} is not in {file}: {here:?}");
            }
        }
    }

    /// What is held as text, and the needles that must be found there.
    pub fn texts(&self) -> (Vec<u8>, Vec<&str>) {
        let is_text = |bare: &&Bare| !bare.expected[0].ends_with("raw");
        let texts = || self.0.iter().filter(is_text);
        let text = texts().flat_map(|bare| [&bare.content[..], b"\n"].concat()).collect();
        let expected = texts().flat_map(|bare| &bare.expected).map(String::as_str).collect();
        (text, expected)
    }
}

type Held = (&'static str, Vec<u8>, Vec<String>);

/// The libraries' own key of each type, with the needles as they keep them: numbers with the least byte
/// first, which is RFC 8032's order and backwards for the others.
fn library_keys(scene: &Scene) -> Vec<Held> {
    let mut all = Vec::new();
    for key in &scene.bare {
        let forms: &[(&str, &[&str])] = match key.key_type() {
            KeyType::Ed25519 => &[
                ("ed25519", &["forwards/0", "forwards/1"]),
                (
                    "ed25519-expanded",
                    &[
                        "scalar forwards/0",
                        "scalar forwards/1",
                        "hash forwards/2",
                        "hash forwards/3",
                    ],
                ),
            ],
            KeyType::Secp256k1 => &[("secp256k1", &["backwards/0", "backwards/1"])],
            _ => &[("bls12-381", &["backwards/0", "backwards/1"])],
        };
        for (form, parts) in forms {
            let expected = parts.iter().map(|part| format!("raw {} {part} raw", key.key_type()));
            all.push((*form, key.expose_secret().expose().to_vec(), expected.collect()));
        }
    }
    all
}

/// A secret as text in every spelling, forwards and backwards.
fn texts(name: &str, secret: &[u8]) -> Vec<Held> {
    let backwards: Vec<u8> = secret.iter().rev().copied().collect();
    let mut all = Vec::new();
    for (order, bytes) in [("forwards", secret), ("backwards", &backwards)] {
        let lower: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut add = |text: String, spelling: &dyn Fn(usize) -> String| {
            let parts = 0..secret.len() / 16;
            let expected = parts.map(|part| format!("{name} {order}/{part} {}", spelling(part)));
            all.push(("bytes", text.into_bytes(), expected.collect()));
        };
        add(lower.to_uppercase(), &|_| "HEX".into());
        add(lower, &|_| "hex".into());
        add(format!("{bytes:?}"), &|_| "as numbers".into());
        for offset in 0..3 {
            let text = Base64::encode_string(&[&b"ab"[..offset], bytes].concat());
            add(text, &|part| format!("base64+{}", (offset + 16 * part) % 3));
        }
    }
    all
}
