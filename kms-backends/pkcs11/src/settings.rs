//! The settings section of this backend.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, IfMissing, KeyCapability, OpenContext,
    Operation, SourceUse, async_trait,
};
use kms_backend_remote::RemoteSettings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use kms_secrets::PassphraseSource;
use serde::{Deserialize, Deserializer, de};

use crate::backend::Pkcs11;
use crate::named::KeyObject;

/// The most sessions, and so threads, of one backend.
const MAX_SESSIONS: usize = 64;

/// Settings of this backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Settings {
    /// The module: a shared library. A relative path is taken from the folder of the settings.
    pub module: PathBuf,
    /// The token.
    pub token: TokenName,
    /// Where its user PIN is. A wrong one is tried once and not again, so that no token gets locked.
    pub pin: PassphraseSource,
    /// How many sessions there are, each with a thread of its own; 1 to 64, default 4.
    #[serde(default = "four", deserialize_with = "sessions")]
    pub sessions: usize,
    /// Keys that are there already, whatever their names: by label, `CKA_ID` or both. They are found, and are
    /// not made, imported, rotated or destroyed.
    #[serde(default)]
    pub keys: BTreeMap<KeyId, KeyObject>,
    /// What to do about a missing key whose own settings don't say.
    #[serde(default)]
    pub if_missing: IfMissing,
    /// How it is asked. A thread hangs that the module keeps for longer than `timeout`.
    #[serde(default)]
    pub remote: RemoteSettings,
}

/// Which of a module's tokens is meant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenName {
    /// The one with this label.
    Label(String),
    /// The one with this serial number.
    Serial(String),
}

/// In words: `token with label …`.
impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "token with label {label}"),
            Self::Serial(serial) => write!(f, "token with serial number {serial}"),
        }
    }
}

#[async_trait]
impl BackendSettings for Pkcs11Settings {
    fn capabilities(&self) -> Capabilities {
        let keys = [
            (KeyType::Ed25519, vec![SigningScheme::Ed25519]),
            (KeyType::Secp256k1, vec![SigningScheme::EcdsaSha256, SigningScheme::EcdsaDigest]),
        ];
        let keys = keys.map(|(key_type, schemes)| KeyCapability::new(key_type, schemes));
        let operations = [Operation::Generate, Operation::Rotate, Operation::Destroy];
        Capabilities::new(keys, SourceUse::Optional, operations)
    }

    fn if_missing(&self) -> IfMissing {
        self.if_missing
    }

    fn env_names(&self) -> Vec<String> {
        self.pin.env_name().map(str::to_owned).into_iter().collect()
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        Ok(Arc::new(Pkcs11::open(self, context).await?))
    }
}

fn four() -> usize {
    4
}

fn sessions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let number = usize::deserialize(deserializer)?;
    if (1..=MAX_SESSIONS).contains(&number) {
        Ok(number)
    } else {
        let found = de::Unexpected::Unsigned(number as u64);
        Err(de::Error::invalid_value(found, &"a number from 1 to 64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_and_its_mistakes_are_refused() {
        let json = r#"{"module": "m.so", "token": {"label": "t"}, "pin": {"env": "PIN"}}"#;
        let settings: Pkcs11Settings = serde_json::from_str(json).unwrap();
        assert_eq!(settings.sessions, 4);
        assert_eq!(settings.env_names(), ["PIN"]);
        for (json, expected) in [
            (r#"{"module": "m", "token": {"label": "t"}}"#, "missing field `pin`"),
            (r#"{"module": "m", "token": {"slot": 0}, "pin": {"env": "P"}}"#, "unknown variant"),
            (
                r#"{"module": "m", "token": {"label": "t"}, "pin": {"env": "P"}, "sessions": 0}"#,
                "1 to 64",
            ),
            (
                r#"{"module": "m", "token": {"label": "t"}, "pin": {"env": "P"}, "keys": {"a": {}}}"#,
                "its `label`, its `id` or both",
            ),
        ] {
            let error = serde_json::from_str::<Pkcs11Settings>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
