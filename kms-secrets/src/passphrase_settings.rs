//! A passphrase's place in settings.
//!
//! By hand, because derived error messages would show a passphrase that somebody wrote where its place
//! belongs – and a passphrase can look like anything.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::looks_like_secret;
use crate::passphrase::PassphraseSource;
use crate::source::is_variable_name;

/// How long a program has if settings don't say it: enough for a store across a network.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than this, nobody means it.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60 * 60);

const EXPECTED: &str = "the place of a passphrase: { file: PATH }, { env: NAME }, \
                        { prompt: true } or { command: [PROGRAM, ARGUMENT…] }";

impl<'de> Deserialize<'de> for PassphraseSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = PassphraseSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(pasted("text"))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Err(pasted("bytes"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Err(pasted("a word"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(pasted("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Err(pasted("a number"))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Self::Value, E> {
        Err(pasted("a number"))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Self::Value, E> {
        Err(pasted("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(pasted("a number"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(pasted("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Fields::deserialize(MapAccessDeserializer::new(map))?.source().map_err(A::Error::custom)
    }
}

fn pasted<E: Error>(found: &str) -> E {
    E::custom(format_args!(
        "found {found} (not shown), expected {EXPECTED}; passphrases don't belong in settings"
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default, deserialize_with = "path")]
    file: Option<PathBuf>,
    #[serde(default, deserialize_with = "text")]
    env: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    prompt: Option<bool>,
    #[serde(default, deserialize_with = "list")]
    command: Option<Vec<String>>,
    #[serde(default, deserialize_with = "flag")]
    group_readable: Option<bool>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
}

impl Fields {
    fn source(self) -> Result<PassphraseSource, &'static str> {
        if self.group_readable.is_some() && self.file.is_none() {
            return Err("`group_readable` goes with `file` alone");
        }
        if self.timeout.is_some() && self.command.is_none() {
            return Err("`timeout` goes with `command` alone");
        }
        let place = self.file.as_deref().and_then(Path::to_str).or(self.env.as_deref());
        if place.is_some_and(looks_like_secret) {
            return Err("found what looks like a secret (not shown), expected where it is; \
                        passphrases don't belong in settings");
        }
        let group_readable = self.group_readable.unwrap_or(false);
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        match (self.file, self.env, self.prompt, self.command) {
            (Some(path), None, None, None) => Ok(PassphraseSource::File { path, group_readable }),
            (None, Some(name), None, None) => env(name),
            (None, None, Some(true), None) => Ok(PassphraseSource::Prompt),
            (None, None, Some(false), None) => Err("`prompt` takes `true`, or is left out"),
            (None, None, None, Some(words)) => command(words, timeout),
            (None, None, None, None) => {
                Err("none of `file`, `env`, `prompt` and `command`, expected one")
            }
            _ => Err("more than one of `file`, `env`, `prompt` and `command`, expected one"),
        }
    }
}

fn env(name: String) -> Result<PassphraseSource, &'static str> {
    if is_variable_name(&name) {
        Ok(PassphraseSource::Env { name })
    } else {
        Err("`env` is no name of an environment variable: letters, digits and underscores, and no \
             digit first")
    }
}

fn command(words: Vec<String>, timeout: Duration) -> Result<PassphraseSource, &'static str> {
    let mut words = words.into_iter();
    match words.next() {
        Some(program) if !program.is_empty() => {
            let args = words.collect();
            Ok(PassphraseSource::Command { program: program.into(), args, timeout })
        }
        _ => Err("`command` names no program: expected a list that begins with one"),
    }
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    quietly(deserializer, "a path")
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    quietly(deserializer, "a name")
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    quietly(deserializer, "true")
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    quietly(deserializer, "a list of texts, a program and its arguments")
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let expected = "a duration with its unit, such as 10s, above zero and at most 1h";
    let text: Option<String> = quietly(deserializer, expected)?;
    text.and_then(|text| humantime::parse_duration(&text).ok())
        .filter(|timeout| !timeout.is_zero() && *timeout <= LONGEST_TIMEOUT)
        .map(Some)
        .ok_or_else(|| not_shown(expected))
}

fn quietly<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some).map_err(|_| not_shown(expected))
}

fn not_shown<E: Error>(expected: &str) -> E {
    E::custom(format_args!("found something else (not shown), expected {expected}"))
}
