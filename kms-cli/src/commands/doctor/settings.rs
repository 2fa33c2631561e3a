//! What the doctor reads of a node's settings: its backends, and which keys live there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use kms_backend::BackendSettings;
use kms_backends::AnyBackend;
use kms_secrets::looks_like_secret;
use serde::Deserialize;
use serde_path_to_error::{Deserializer, Track};

use crate::failure::{Failure, Outcome};

/// The largest settings file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Section `kms` of a node's settings, as far as it is about backends.
#[derive(Debug, Deserialize)]
pub(super) struct Settings {
    pub(super) backends: BTreeMap<String, AnyBackend>,
    #[serde(default)]
    keys: Vec<Key>,
}

/// A key that the settings need.
#[derive(Debug, Deserialize)]
pub(super) struct Key {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) key_type: String,
    backend: Option<String>,
}

#[derive(Deserialize)]
struct Node {
    kms: Settings,
}

impl Settings {
    pub(super) fn env_names(&self) -> Vec<String> {
        self.backends.values().flat_map(BackendSettings::env_names).collect()
    }

    /// The keys that live in the backend called `name`.
    pub(super) fn keys_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| match &key.backend {
            Some(backend) => backend == name,
            None => self.backends.len() == 1,
        })
    }
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Outcome<Settings> {
    let refused = |cause: &str| {
        Failure::unavailable(format_args!("settings file {}: {cause}", path.display()))
    };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    read.map_err(|error| refused(&error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(refused(&format!("is larger than {MAX_BYTES} bytes")));
    }
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let mut track = Track::new();
    serde_saphyr::with_deserializer_from_str_with_options(&text, options, |deserializer| {
        Node::deserialize(Deserializer::new(deserializer, &mut track))
    })
    .map(|node| node.kms)
    .map_err(|error| {
        let line = error.location().map_or(1, |at| at.line());
        refused(&format!("line {line} ({}): {}", track.path(), problem(&error.to_string())))
    })
}

/// What is wrong, without what was found: somebody may have written a secret there. Names of fields are
/// told, unless they look like one.
fn problem(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    let message = &message[..end];
    let names = ["missing field", "unknown field", "unknown variant", "duplicate"];
    let is_about_a_name = names.iter().any(|name| message.starts_with(name));
    if is_about_a_name && !message.split(['`', '"', ' ']).any(looks_like_secret) {
        message.to_owned()
    } else {
        "a backend or key is not written as expected".to_owned()
    }
}
