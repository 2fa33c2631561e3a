//! What a backend can do, as data.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use kms_keys::{KeyType, SigningScheme};

/// What a backend can do. Known from its settings alone, so that a key that can't work there is
/// refused before anything is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The key types it holds, and what each can sign.
    pub keys: Vec<KeyCapability>,
    /// Whether a key's settings must, may or must not say where its secret comes from.
    pub source: SourceUse,
    /// The operations it has besides loading keys and signing.
    pub operations: BTreeSet<Operation>,
}

/// A key type that a backend holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyCapability {
    /// The key type.
    pub key_type: KeyType,
    /// The schemes that its keys can sign under there.
    pub schemes: Vec<SigningScheme>,
    /// How many bytes a message may have that is sent there as it is; `None` where the backend has no limits
    /// of its own. It refuses others before it asks anybody.
    pub message_bytes: Option<RangeInclusive<usize>>,
}

impl KeyCapability {
    /// A key type whose keys sign under these schemes, messages of any length.
    pub fn new(key_type: KeyType, schemes: impl IntoIterator<Item = SigningScheme>) -> Self {
        Self { key_type, schemes: schemes.into_iter().collect(), message_bytes: None }
    }
}

/// What a backend does with the `source` of a key's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceUse {
    /// Each key needs one: the secret is read from it every time.
    Required,
    /// The backend has its own secrets, and imports that of a key with a source that it doesn't have yet. It
    /// reads the source then alone.
    Optional,
    /// The backend has its own secrets; a key with a source is a mistake.
    Refused,
}

/// Something a backend may be able to do besides loading keys and signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Making a key that is missing.
    Generate,
    /// Deriving a key that is missing from a master secret.
    Derive,
    /// Making a new version of a key.
    Rotate,
    /// Stopping a key from signing.
    Disable,
    /// Letting a disabled key sign again.
    Enable,
    /// Scheduling the deletion of a key.
    ScheduleDelete,
    /// Taking a scheduled deletion back.
    CancelDelete,
    /// Destroying a key's secret.
    Destroy,
    /// Running an operator on a key's secret, inside this process.
    Execute,
    /// Aggregating signatures of several keys.
    Aggregate,
}

impl Capabilities {
    /// A backend that holds keys of all types in this process and signs under every scheme, with
    /// the given `source` rule and `operations`.
    #[must_use]
    pub fn software(source: SourceUse, operations: impl IntoIterator<Item = Operation>) -> Self {
        let keys = KeyType::ALL
            .iter()
            .map(|&key_type| KeyCapability::new(key_type, key_type.schemes().iter().copied()));
        Self::new(keys, source, operations)
    }

    /// Capabilities with all their parts.
    pub fn new(
        keys: impl IntoIterator<Item = KeyCapability>,
        source: SourceUse,
        operations: impl IntoIterator<Item = Operation>,
    ) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            source,
            operations: operations.into_iter().collect(),
        }
    }

    /// The schemes that a key of this type can sign under; empty if the type has no place here.
    #[must_use]
    pub fn schemes(&self, key_type: KeyType) -> &[SigningScheme] {
        self.keys.iter().find(|key| key.key_type == key_type).map_or(&[], |key| &key.schemes)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generate => "generate",
            Self::Derive => "derive",
            Self::Rotate => "rotate",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::ScheduleDelete => "schedule the deletion of",
            Self::CancelDelete => "cancel the deletion of",
            Self::Destroy => "destroy",
            Self::Execute => "run an operator on",
            Self::Aggregate => "aggregate signatures of",
        })
    }
}
