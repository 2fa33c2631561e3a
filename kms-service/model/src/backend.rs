//! A backend that answers at once. Its signer gives the same signature every time: here it matters
//! when one is given, not which.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use kms_backend::{
    Backend, BackendError, Failure, Health, KeyInfo, KeyPage, KeySpec, KeyState, LocalSigner,
    PageRequest, RegisteredKey, Signer, async_trait,
};
use kms_keys::{
    KeyId, KeyType, Operator, OperatorError, PublicKey, SecretKey, Signature, SigningScheme,
};

pub(crate) struct ModelBackend;

pub(crate) struct ModelSigner {
    pub(crate) brief: bool,
}

struct Pair {
    public: PublicKey,
    signature: Signature,
}

/// The one key there is, under every id.
fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let secret = SecretKey::from_bytes(KeyType::Ed25519, &[7; 32]).unwrap();
        let signature = secret.sign(SigningScheme::Ed25519, b"a message").unwrap();
        Pair { public: secret.public_key(), signature }
    })
}

/// What the backend gives for the key called `id`.
pub(crate) fn key(id: &KeyId, brief: bool) -> RegisteredKey {
    RegisteredKey::new(info(id, KeyState::Active), Signer::Local(Arc::new(ModelSigner { brief })))
}

pub(crate) fn info(id: &KeyId, state: KeyState) -> KeyInfo {
    let mut info = KeyInfo::new(id.clone(), pair().public.clone(), "model");
    info.state = state;
    info
}

#[async_trait]
impl Backend for ModelBackend {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        Err(BackendError::NotFound(Failure::new(format!("no key {}", spec.id))))
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        Ok(KeyPage::collect(page, []))
    }

    async fn health(&self) -> Health {
        Health::ok()
    }

    async fn disable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        Ok(info(id, KeyState::Disabled))
    }

    async fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<KeyInfo, BackendError> {
        Ok(info(id, KeyState::PendingDeletion { not_before: SystemTime::UNIX_EPOCH + wait }))
    }

    async fn close(&self) {}
}

impl LocalSigner for ModelSigner {
    fn public_key(&self) -> &PublicKey {
        &pair().public
    }

    fn sign(&self, _: SigningScheme, _: &[u8]) -> Result<Signature, BackendError> {
        // Takes its time: others come before it, in some orders.
        shuttle::thread::sleep(Duration::ZERO);
        Ok(pair().signature.clone())
    }

    fn is_brief(&self) -> bool {
        self.brief
    }

    fn execute(&self, _: &dyn Operator, _: &[u8], _: &mut Vec<u8>) -> Result<(), OperatorError> {
        Ok(())
    }
}
