//! What may be known of a key.

use std::fmt;
use std::time::SystemTime;

use kms_keys::{KeyId, KeyType, PublicKey};

/// What may be known of a key. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// The key's name.
    pub id: KeyId,
    /// The key's type.
    pub key_type: KeyType,
    /// The public key of the current version.
    pub public_key: PublicKey,
    /// The current version, from 1 on.
    pub version: u32,
    /// Whether the key may be used.
    pub state: KeyState,
    /// The name of the backend where the key lives.
    pub backend: String,
    /// When the current version was made, if that is known.
    pub created: Option<SystemTime>,
}

impl KeyInfo {
    /// Version 1 of an active key in the backend called `backend`, made at an unknown time.
    pub fn new(id: KeyId, public_key: PublicKey, backend: impl Into<String>) -> Self {
        Self {
            id,
            key_type: public_key.key_type(),
            public_key,
            version: 1,
            state: KeyState::Active,
            backend: backend.into(),
            created: None,
        }
    }
}

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// It signs.
    Active,
    /// It doesn't sign until it is enabled.
    Disabled,
    /// It doesn't sign, and is to be destroyed.
    PendingDeletion {
        /// From when on its secret may be destroyed.
        not_before: SystemTime,
    },
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::PendingDeletion { .. } => "pending deletion",
        })
    }
}
