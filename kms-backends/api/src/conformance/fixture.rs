//! What the suite needs to know of a backend under test.

use async_trait::async_trait;
use kms_keys::{KeyId, KeyType, PublicKey};

use crate::{BackendSettings, Derivation, KeySpec, OpenContext};

/// A backend under test: how to open it, and how to put keys there and damage them.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// The settings of the backend under test.
    type Settings: BackendSettings;

    /// Settings that open the same place each time.
    fn settings(&self) -> Self::Settings;

    /// The context to open it with.
    fn context(&self) -> OpenContext;

    /// Sees to it that registering the returned spec will succeed with a key that has never been
    /// registered: puts a secret where the spec says, or asks for it to be generated.
    async fn provision(&self, id: KeyId, key_type: KeyType) -> Provisioned;

    /// A spec for a key that isn't there and that must not be generated.
    fn absent(&self, id: KeyId, key_type: KeyType) -> KeySpec;

    /// Takes off whatever keeps a key from being deleted. No backend is open meanwhile.
    async fn allow_deletion(&self, _id: &KeyId) {}

    /// What keys of this type can be derived from, where the backend can derive any: a master that
    /// the fixture has put there, and a path. Called before a backend is opened.
    async fn derivation(&self, _key_type: KeyType) -> Option<Derivation> {
        None
    }

    /// Damages what is stored for this key so that it can't be loaded any more, and says `true`;
    /// `false` where the tests can't reach it.
    async fn damage(&self, spec: &KeySpec) -> bool;
}

/// A key that the fixture has put into the backend.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// What to register.
    pub spec: KeySpec,
    /// The public key it must turn out to have, if the fixture knows.
    pub public_key: Option<PublicKey>,
}
