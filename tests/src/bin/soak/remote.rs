//! A backend that signs elsewhere, as far as anybody can see, and is in a mood.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, Capabilities, Failure, Health, HealthLevel, KeyInfo, KeyPage, KeySpec,
    LocalSigner, PageRequest, RegisteredKey, RemoteSigner, Signer, SoftwareSigner, SourceUse,
    async_trait,
};
use kms_keys::{PublicKey, SecretKey, Signature, SigningScheme};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Slow,
    Fails,
    Throttles,
    Hangs,
    Panics,
}

const MOODS: [Mood; 6] =
    [Mood::Well, Mood::Slow, Mood::Fails, Mood::Throttles, Mood::Hangs, Mood::Panics];

/// The mood of the one such backend, and how often it has panicked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    mood: AtomicUsize,
    panics: AtomicU64,
}

impl Remote {
    pub(crate) fn set(&self, mood: Mood) {
        self.0.mood.store(mood as usize, Ordering::Relaxed);
    }

    pub(crate) fn mood(&self) -> Mood {
        MOODS[self.0.mood.load(Ordering::Relaxed)]
    }

    pub(crate) fn panics(&self) -> u64 {
        self.0.panics.load(Ordering::SeqCst)
    }

    pub(crate) fn capabilities() -> Capabilities {
        Capabilities::software(SourceUse::Refused, [])
    }
}

/// The secret follows from the id: the key is the same after every start.
fn secret(spec: &KeySpec) -> SecretKey {
    let mut bytes = [1; 32];
    for (byte, letter) in bytes[1..].iter_mut().zip(spec.id.as_str().bytes()) {
        *byte = letter;
    }
    SecretKey::from_bytes(spec.key_type, &bytes).unwrap()
}

#[async_trait]
impl Backend for Remote {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        let signer = SoftwareSigner::new(secret(spec));
        let info = KeyInfo::new(spec.id.clone(), signer.public_key().clone(), "remote");
        let signer = Signer::Remote(Arc::new(Moody { signer, remote: self.clone() }));
        Ok(RegisteredKey::new(info, signer))
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        Ok(KeyPage::collect(page, []))
    }

    async fn health(&self) -> Health {
        match self.mood() {
            Mood::Well | Mood::Slow => Health::ok(),
            mood => Health::new(HealthLevel::Degraded, format!("{mood:?}")),
        }
    }

    async fn close(&self) {}
}

struct Moody {
    signer: SoftwareSigner,
    remote: Remote,
}

#[async_trait]
impl RemoteSigner for Moody {
    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    async fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        match self.remote.mood() {
            Mood::Well => tokio::task::yield_now().await,
            Mood::Slow => tokio::time::sleep(Duration::from_millis(20)).await,
            Mood::Fails => return Err(BackendError::Unavailable(Failure::new("a mood"))),
            Mood::Throttles => {
                let failure = Failure::new("a mood");
                return Err(BackendError::Throttled { failure, retry_after: None });
            }
            Mood::Hangs => std::future::pending().await,
            Mood::Panics => {
                self.remote.0.panics.fetch_add(1, Ordering::SeqCst);
                // Unlike `panic!`, this prints nothing.
                resume_unwind(Box::new("a mood"))
            }
        }
        self.signer.sign(scheme, message)
    }
}
