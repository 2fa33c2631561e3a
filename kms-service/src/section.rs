//! The service's settings as they are written.
//!
//! What is written – [`KmsSection`] – becomes [`KmsSettings`](crate::KmsSettings) only if nothing is
//! wrong with it that can be seen without touching a file, a variable or a server.

use std::collections::{BTreeMap, HashMap};

use kms_backend::{BackendSettings, IfMissing};
use kms_secrets::SecretSource;
use serde::Deserialize;

use crate::Limits;

/// The section `kms` of a node's settings, as it is written. Holds where secrets are, never one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, bound = "B: BackendSettings")]
pub struct KmsSection<B> {
    /// The places where keys live, by name; at least one.
    pub backends: BTreeMap<String, B>,
    /// The keys that the node needs. May be left out.
    #[serde(default)]
    pub keys: Option<Vec<KeySection>>,
    /// How much the service takes on at once, and for how long.
    #[serde(default)]
    pub limits: Limits,
}

/// A key of the settings, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySection {
    /// The key's name.
    pub id: String,
    /// The key's type.
    #[serde(rename = "type")]
    pub key_type: String,
    /// The name of the backend where it lives. May be left out where there is only one.
    pub backend: Option<String>,
    /// Where its secret comes from.
    pub source: Option<SecretSource>,
    /// What to do if it is missing: `fail` or `generate`. Left out: what its backend's settings say.
    pub if_missing: Option<IfMissing>,
    /// What it is derived from if it is missing.
    pub derive: Option<DerivationSection>,
    /// The public key that it must turn out to have, in hex.
    pub public_key: Option<String>,
    /// What it may sign. Left out: its type's default scheme alone.
    pub schemes: Option<Vec<String>>,
    /// Which services may use it. Left out: every service of the node.
    pub callers: Option<Vec<String>>,
}

/// What a key is derived from, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DerivationSection {
    /// The name of a master that the key's backend holds.
    pub master: String,
    /// The path from it to the key, for example `m/44'/60'/0'/0/0`.
    pub path: String,
}

impl<B> KmsSection<B> {
    /// The type of every key as it is written, by its id as it is written: for checks of other
    /// sections that name keys, which should not have to wait until this one is all right.
    #[must_use]
    pub fn declared_types(&self) -> HashMap<String, String> {
        let keys = self.keys.iter().flatten();
        keys.map(|key| (key.id.clone(), key.key_type.clone())).collect()
    }
}
