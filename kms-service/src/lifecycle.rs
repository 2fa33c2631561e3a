//! Operations that load or change keys: what is asked of a backend, and that a backend which panics
//! or never answers costs nobody else anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use kms_backend::{
    Backend, BackendError, Failure, IfMissing, KeyInfo, KeySpec, KeyState, Operation, RegisteredKey,
};
use kms_keys::{KeyId, KeyType};

use crate::counters::CounterSet;
use crate::message::Change;
use crate::places::Taken;
use crate::registry::{check_answer, check_info};
use crate::reply::Reply;
use crate::{Caller, KmsError};

/// A request to load or change a key, waiting for its turn.
pub(crate) struct Pending {
    pub(crate) caller: Caller,
    pub(crate) deadline: Instant,
    pub(crate) span: tracing::Span,
    pub(crate) id: KeyId,
    pub(crate) what: What,
    pub(crate) reply: Reply<KeyInfo>,
    /// Held until it has ended.
    pub(crate) place: Taken,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Register { key_type: KeyType, if_missing: Option<IfMissing> },
    Change(Change),
}

/// What a backend has done.
pub(crate) struct Finished {
    pub(crate) id: KeyId,
    /// `None` if the caller has been told already that the answer is lost.
    pub(crate) reply: Option<Reply<KeyInfo>>,
    pub(crate) outcome: Result<Done, KmsError>,
}

pub(crate) enum Done {
    Registered { spec: Box<KeySpec>, backend: String, key: RegisteredKey },
    Rotated(RegisteredKey),
    Changed(KeyInfo),
}

impl Change {
    /// What the backend must be able to do.
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::Rotate => Operation::Rotate,
            Self::Disable => Operation::Disable,
            Self::Enable => Operation::Enable,
            Self::ScheduleDelete { .. } => Operation::ScheduleDelete,
            Self::CancelDelete => Operation::CancelDelete,
        }
    }

    /// Whether a key may be in this state once it has been changed.
    fn leads_to(self, state: KeyState) -> bool {
        let pending = matches!(state, KeyState::PendingDeletion { .. });
        match self {
            Self::Rotate => true,
            Self::Disable => state != KeyState::Active,
            Self::Enable => state == KeyState::Active,
            Self::ScheduleDelete { .. } => pending,
            // Some places leave a key disabled then.
            Self::CancelDelete => !pending,
        }
    }
}

/// Registers `spec` with `backend` and checks what it answers.
pub(crate) async fn register(
    counters: &CounterSet,
    backend: &dyn Backend,
    spec: &KeySpec,
) -> Result<RegisteredKey, KmsError> {
    let registered = guarded(counters, async {
        let key = backend.register(spec).await?;
        check_answer(spec, &key)?;
        Ok(key)
    });
    registered.await?.map_err(|error| KmsError::from_backend(&spec.id, error))
}

/// Has `backend` change the key described by `current`, and checks what it answers.
pub(crate) async fn change(
    counters: &CounterSet,
    backend: Arc<dyn Backend>,
    current: KeyInfo,
    change: Change,
) -> Result<Done, KmsError> {
    let id = &current.id;
    let changed = guarded(counters, async {
        let done = match change {
            Change::Rotate => Done::Rotated(backend.rotate(id).await?),
            Change::Disable => Done::Changed(backend.disable(id).await?),
            Change::Enable => Done::Changed(backend.enable(id).await?),
            Change::ScheduleDelete { wait } => {
                Done::Changed(backend.schedule_delete(id, wait).await?)
            }
            Change::CancelDelete => Done::Changed(backend.cancel_delete(id).await?),
        };
        check_change(&current, change, &done)?;
        Ok(done)
    });
    changed.await?.map_err(|error| KmsError::from_backend(id, error))
}

/// The key must be the one that was to be changed, what signs must be what was announced, and the
/// change must have been made.
fn check_change(current: &KeyInfo, change: Change, done: &Done) -> Result<(), BackendError> {
    let mut expected = KeySpec::new(current.id.clone(), current.key_type);
    match done {
        Done::Registered { key, .. } => check_answer(&expected, key),
        Done::Rotated(key) => {
            check_answer(&expected, key)?;
            let is_new = key.info.public_key != current.public_key;
            if is_new && key.info.version > current.version {
                Ok(())
            } else {
                Err(BackendError::Corrupt(Failure::new(format!(
                    "the backend was to rotate key {}, and says that it is at version {} with {} \
                     public key",
                    current.id,
                    key.info.version,
                    if is_new { "another" } else { "the same" }
                ))))
            }
        }
        Done::Changed(info) => {
            expected.public_key = Some(current.public_key.clone());
            check_info(&expected, info)?;
            if change.leads_to(info.state) {
                Ok(())
            } else {
                Err(BackendError::Corrupt(Failure::new(format!(
                    "the backend was to {} key {}, and says that it is {}",
                    change.operation(),
                    info.id,
                    info.state
                ))))
            }
        }
    }
}

/// Runs foreign code so that its panic is an error of this one request, and a counter.
pub(crate) async fn guarded<T>(
    counters: &CounterSet,
    work: impl Future<Output = T>,
) -> Result<T, KmsError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        counters.panics.increment();
        tracing::error!("a backend panicked; the request was given up");
        KmsError::Internal
    })
}

#[cfg(test)]
mod tests {
    use kms_backend::{Signer, SoftwareSigner};
    use kms_keys::SecretKey;

    use super::*;

    fn key(version: u32) -> RegisteredKey {
        let signer = SoftwareSigner::new(SecretKey::generate(KeyType::Ed25519).unwrap());
        let signer = Signer::Local(Arc::new(signer));
        let id = KeyId::new("a").unwrap();
        let mut info = KeyInfo::new(id, signer.public_key().clone(), "test");
        info.version = version;
        RegisteredKey::new(info, signer)
    }

    #[test]
    fn a_rotation_is_believed_only_with_a_new_version_of_a_new_key() {
        let current = key(2);
        let check = |rotated| check_change(&current.info, Change::Rotate, &Done::Rotated(rotated));
        check(key(3)).unwrap();
        let mut same_key = current.clone();
        same_key.info.version = 3;
        for lie in [key(2), key(1), same_key] {
            let refused = check(lie).unwrap_err();
            assert!(matches!(refused, BackendError::Corrupt(_)), "{refused:?}");
        }
    }
}
