//! Whether a key may be used at this very moment.

use kms_backend::KeyState;
use kms_keys::KeyId;

use crate::KmsError;
use crate::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Stands between a key and everything that is made with it. Whoever changes the key's state waits
/// for what is just being given out; so once a key is disabled, nothing of it is given out any more,
/// whatever was under way.
#[derive(Debug)]
pub(crate) struct Gate(RwLock<KeyState>);

impl Gate {
    pub(crate) fn new(state: KeyState) -> Self {
        Self(RwLock::new(state))
    }

    /// Goes in, if the key called `id` is active. To be held while a signature is given out, and
    /// never across an await.
    pub(crate) fn enter(&self, id: &KeyId) -> Result<RwLockReadGuard<'_, KeyState>, KmsError> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match *state {
            KeyState::Active => Ok(state),
            KeyState::PendingDeletion { .. } => Err(KmsError::PendingDeletion { id: id.clone() }),
            _ => Err(KmsError::Disabled { id: id.clone() }),
        }
    }

    /// Sets the key's state. Blocks while anything is being given out, which is a matter of
    /// microseconds.
    pub(crate) fn set(&self, state: KeyState) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_state_decides_who_enters() {
        let id = KeyId::new("a").unwrap();
        let gate = Gate::new(KeyState::Active);
        assert!(gate.enter(&id).is_ok());
        gate.set(KeyState::Disabled);
        assert!(matches!(gate.enter(&id), Err(KmsError::Disabled { .. })));
        gate.set(KeyState::PendingDeletion { not_before: SystemTime::UNIX_EPOCH });
        assert!(matches!(gate.enter(&id), Err(KmsError::PendingDeletion { .. })));
        gate.set(KeyState::Active);
        assert!(gate.enter(&id).is_ok());
    }

    #[test]
    fn closing_waits_for_who_is_inside() {
        let id = KeyId::new("a").unwrap();
        let gate = Arc::new(Gate::new(KeyState::Active));
        let inside = gate.enter(&id).unwrap();
        let (sender, closed) = mpsc::channel();
        let closer = thread::spawn({
            let gate = Arc::clone(&gate);
            move || {
                gate.set(KeyState::Disabled);
                sender.send(()).unwrap();
            }
        });
        assert!(closed.recv_timeout(Duration::from_millis(50)).is_err());
        drop(inside);
        closed.recv().unwrap();
        closer.join().unwrap();
        assert!(gate.enter(&id).is_err());
    }
}
