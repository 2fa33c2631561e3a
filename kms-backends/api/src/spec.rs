//! What is asked of a backend: one key.

use std::collections::BTreeSet;
use std::fmt;

use kms_keys::{DerivationPath, KeyId, KeyType, PublicKey, SigningScheme};
use kms_secrets::SecretSource;
use serde::{Deserialize, Serialize};

/// One key that a node needs. Says where its secret is and never holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySpec {
    /// The key's name.
    pub id: KeyId,
    /// The key's type.
    pub key_type: KeyType,
    /// What to do when there is no such key.
    pub if_missing: IfMissing,
    /// Where the key's secret comes from, for backends that have no secrets of their own, or where one that has
    /// takes it from when it has no such key.
    pub source: Option<SecretSource>,
    /// What the key is derived from if it is missing, for backends that keep masters.
    pub derivation: Option<Derivation>,
    /// The public key that the current version must turn out to have.
    pub public_key: Option<PublicKey>,
    /// What the key may sign. Never empty.
    pub schemes: BTreeSet<SigningScheme>,
    /// Which services may use the key.
    pub callers: Callers,
}

/// What to do when a key is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IfMissing {
    /// Refuse: [`NotFound`](crate::BackendError::NotFound).
    #[default]
    Fail,
    /// Make a new key, where the backend can.
    Generate,
}

/// How a key comes from a master secret that a backend keeps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Derivation {
    /// The name of the master.
    pub master: KeyId,
    /// The way from it to the key: BIP-32 for secp256k1, SLIP-0010 for Ed25519, EIP-2333 for
    /// BLS12-381.
    pub path: DerivationPath,
}

/// Which services may use a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Callers {
    /// Every service of the node.
    #[default]
    Every,
    /// The services with these ids.
    Only(BTreeSet<String>),
}

impl fmt::Display for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of master {}", self.path, self.master)
    }
}

impl KeySpec {
    /// A key that must be there, may sign under its type's default scheme, and may be used by every
    /// service.
    #[must_use]
    pub fn new(id: KeyId, key_type: KeyType) -> Self {
        Self {
            id,
            key_type,
            if_missing: IfMissing::Fail,
            source: None,
            derivation: None,
            public_key: None,
            schemes: BTreeSet::from([key_type.default_scheme()]),
            callers: Callers::Every,
        }
    }

    /// Whether the key may sign under `scheme`. The proof of possession goes with the
    /// proof-of-possession ciphersuite, of which it is a part.
    #[must_use]
    pub fn allows_scheme(&self, scheme: SigningScheme) -> bool {
        self.schemes.contains(&scheme)
            || scheme == SigningScheme::BlsPopProve && self.schemes.contains(&SigningScheme::BlsPop)
    }

    /// Whether the service called `caller` may use the key.
    #[must_use]
    pub fn allows_caller(&self, caller: &str) -> bool {
        match &self.callers {
            Callers::Every => true,
            Callers::Only(services) => services.contains(caller),
        }
    }
}
