//! The service's settings once they are checked, and what can be wrong with them before.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use kms_backend::{BackendSettings, KeySpec};
use kms_keys::KeyId;

use crate::Limits;

/// The service's settings, checked. Cloned and kept by the framework for the whole run.
#[derive(Clone, Debug)]
pub struct KmsSettings<B> {
    pub(crate) backends: BTreeMap<String, B>,
    pub(crate) keys: Vec<DeclaredKey>,
    pub(crate) limits: Limits,
    pub(crate) base_dir: PathBuf,
}

/// A key of the settings, and where it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredKey {
    /// What the backend is asked for.
    pub spec: KeySpec,
    /// The name of the backend.
    pub backend: String,
}

/// Everything that is wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// What is wrong; never empty.
    pub problems: Vec<SettingsProblem>,
}

/// One thing that is wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// Which field, for example `kms.keys[2].type`.
    pub field: String,
    /// The id of the key it is about, if it is about one with a valid id.
    pub key: Option<KeyId>,
    /// What was found and what was expected.
    pub problem: String,
}

impl<B: BackendSettings> KmsSettings<B> {
    /// The keys that the node needs.
    #[must_use]
    pub fn keys(&self) -> &[DeclaredKey] {
        &self.keys
    }

    /// The environment variables that hold secrets: what keys' sources read and what opens backends.
    /// For [`environment::take`](kms_secrets::environment::take).
    #[must_use]
    pub fn env_names(&self) -> Vec<String> {
        let sources = self.keys.iter().filter_map(|key| key.spec.source.as_ref()?.env_name());
        let mut names: Vec<_> = sources.map(str::to_owned).collect();
        names.extend(self.backends.values().flat_map(B::env_names));
        names
    }

    /// The places where keys live, by name.
    #[must_use]
    pub fn backends(&self) -> &BTreeMap<String, B> {
        &self.backends
    }

    /// The service's limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The folder that relative paths are taken from.
    #[must_use]
    pub fn base_dir(&self) -> &Path {
        &self.base_dir
    }
}

impl Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings of the key management service are wrong")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for SettingsError {}

impl Display for SettingsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{} (key {key}): {}", self.field, self.problem),
            None => write!(f, "{}: {}", self.field, self.problem),
        }
    }
}
