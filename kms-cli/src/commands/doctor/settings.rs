//! What the doctor reads of a node's settings: its backends, and which keys live there.

use std::collections::BTreeMap;
use std::path::Path;

use kms_backend::{BackendSettings, Capabilities, IfMissing, SourceUse};
use kms_backends::AnyBackend;
use kms_keys::KeyId;
use kms_secrets::SecretSource;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::failure::Outcome;
use crate::yaml;

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
    pub(super) source: Option<SecretSource>,
    if_missing: Option<IfMissing>,
    derive: Option<IgnoredAny>,
    /// The public key that it must turn out to have, in hex.
    pub(super) public_key: Option<String>,
}

#[derive(Deserialize)]
struct Node {
    kms: Settings,
}

impl Settings {
    pub(super) fn env_names(&self) -> Vec<String> {
        let backends = self.backends.values().flat_map(BackendSettings::env_names);
        let sources = self.keys.iter().filter_map(|key| key.source.as_ref()?.env_name());
        backends.chain(sources.map(str::to_owned)).collect()
    }

    /// The keys that live in the backend called `name`.
    pub(super) fn keys_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| match &key.backend {
            Some(backend) => backend == name,
            None => self.backends.len() == 1,
        })
    }
}

impl Key {
    /// Whether the node makes it, called `id`, where it is missing: generates, derives or imports it.
    pub(super) fn is_made(&self, id: &KeyId, backend: &AnyBackend, can: &Capabilities) -> bool {
        if backend.has_named(id) {
            return false;
        }
        let if_missing = self.if_missing.unwrap_or_else(|| backend.if_missing());
        let is_imported = self.source.is_some() && can.source == SourceUse::Optional;
        if_missing == IfMissing::Generate || self.derive.is_some() || is_imported
    }
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Outcome<Settings> {
    yaml::read::<Node>(path, "a backend or key").map(|node| node.kms)
}
