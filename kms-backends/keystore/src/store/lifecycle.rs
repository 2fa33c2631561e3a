//! What becomes of a key: disabled, protected, scheduled for deletion, destroyed.

use std::time::Duration;

use kms_keys::{KeyId, SecretKey};

use super::Store;
use crate::clock::now;
use crate::error::StoreError;
use crate::format::record::{KeyFlags, Record, StoredKey, StoredState};

/// What a key is, and what can be done instead.
type Refusal = (&'static str, &'static str);

/// What is said of a key whose deletion is scheduled.
const PENDING: Refusal = ("scheduled for deletion", "cancel the deletion first");

/// What is said of a key that must not be deleted.
const PROTECTED: Refusal = ("protected from deletion", "take the protection off first");

impl Store {
    /// Stops a key from signing until it is enabled.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::State`], if it is to be deleted.
    pub fn disable(&self, id: &KeyId) -> Result<StoredKey, StoreError> {
        self.set_state(id, |now| unless_pending(now.state, StoredState::Disabled))
    }

    /// Lets a disabled key sign again.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::State`], if it is to be deleted.
    pub fn enable(&self, id: &KeyId) -> Result<StoredKey, StoreError> {
        self.set_state(id, |now| unless_pending(now.state, StoredState::Active))
    }

    /// Schedules a key's deletion: it may be destroyed when `wait` is over, and does not sign until
    /// then.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::State`], if it is protected, or to be deleted already.
    pub fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<StoredKey, StoreError> {
        // Rounded up: what was asked for is the least.
        let not_before = match wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)) {
            0 => now(),
            seconds => now().saturating_add(seconds).saturating_add(1),
        };
        self.set_state(id, |now| match now.flags.protected {
            true => Err(PROTECTED),
            false => unless_pending(now.state, StoredState::PendingDeletion { not_before }),
        })
    }

    /// Takes a scheduled deletion back. The key is disabled then.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::State`], if none is scheduled.
    pub fn cancel_delete(&self, id: &KeyId) -> Result<StoredKey, StoreError> {
        self.set_state(id, |now| match now.state {
            StoredState::PendingDeletion { .. } => Ok(StoredState::Disabled),
            _ => Err(("not to be deleted", "no deletion is scheduled")),
        })
    }

    /// Destroys the secrets of all versions of a key whose waiting time is over. What may be known of
    /// the key stays, so that its id is never given to another. Old copies of the sealed secrets may
    /// stay in free parts of the file until [`Store::rewrite`].
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::State`], if no deletion is scheduled; [`StoreError::Waiting`].
    pub fn destroy(&self, id: &KeyId) -> Result<StoredKey, StoreError> {
        let at = now();
        let newest = self.newest(id)?.info;
        if newest.flags.protected {
            let (state, advice) = PROTECTED;
            return Err(StoreError::State { id: id.clone(), state, advice });
        }
        match newest.state {
            StoredState::PendingDeletion { not_before } if not_before <= at => {}
            StoredState::PendingDeletion { not_before } => {
                let seconds = not_before - at;
                return Err(StoreError::Waiting { id: id.clone(), seconds });
            }
            _ => {
                let (state, advice) = ("not to be deleted", "schedule its deletion first");
                return Err(StoreError::State { id: id.clone(), state, advice });
            }
        }
        let versions = self.records(id)?;
        let destroyed = self.keys().open(|keys| {
            let destroyed = versions.iter().map(|record| record.destroyed(at, self.id(), keys));
            destroyed.collect::<Result<Vec<_>, _>>()
        })?;
        let changes: Vec<_> =
            versions.iter().zip(&destroyed).map(|(old, new)| (Some(old), Some(new))).collect();
        self.commit(&changes)?;
        let newest = destroyed.into_iter().next_back();
        newest.map(|record| record.info).ok_or_else(|| StoreError::NotFound(id.clone()))
    }

    /// Protects a key from being scheduled for deletion, or takes the protection off.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn protect(&self, id: &KeyId, protected: bool) -> Result<StoredKey, StoreError> {
        let record = self.newest(id)?;
        let flags = KeyFlags { protected, ..record.info.flags };
        self.replace(&record, StoredKey { flags, ..record.info.clone() })
    }

    /// Retires a version before the newest, so that nothing is signed with it any more, or takes that
    /// back. Its public key stays.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NotFound`] for a version that there isn't;
    /// [`StoreError::State`] for the newest, which can be disabled instead.
    pub fn retire(&self, id: &KeyId, version: u32, retired: bool) -> Result<StoredKey, StoreError> {
        let newest = self.newest(id)?.info.version;
        if version == newest {
            let (state, advice) = ("at this version", "rotate it first, or disable the key");
            return Err(StoreError::State { id: id.clone(), state, advice });
        }
        let record = self.version(id, version)?;
        let flags = KeyFlags { retired, ..record.info.flags };
        self.replace(&record, StoredKey { flags, ..record.info.clone() })
    }

    /// The secret of a version of a key that was made exportable; of the newest, if none is named.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NotExportable`].
    pub fn export(&self, id: &KeyId, version: Option<u32>) -> Result<SecretKey, StoreError> {
        let record = match version {
            Some(version) => self.version(id, version)?.unless_destroyed()?,
            None => self.newest(id)?,
        };
        if !record.info.flags.exportable {
            return Err(StoreError::NotExportable(id.clone()));
        }
        self.unseal(&record)
    }

    /// The secret of a record of this store.
    pub(crate) fn unseal(&self, record: &Record) -> Result<SecretKey, StoreError> {
        self.keys().open(|keys| record.open(self.id(), keys))
    }

    fn version(&self, id: &KeyId, version: u32) -> Result<Record, StoreError> {
        let mut records = self.records(id)?.into_iter();
        records
            .find(|record| record.info.version == version)
            .ok_or_else(|| StoreError::NoVersion { id: id.clone(), version })
    }

    /// Changes a key's state, if `next` says that it may be changed.
    fn set_state(
        &self,
        id: &KeyId,
        next: impl FnOnce(&StoredKey) -> Result<StoredState, Refusal>,
    ) -> Result<StoredKey, StoreError> {
        let record = self.newest(id)?;
        let state = next(&record.info).map_err(|(state, advice)| {
            let id = id.clone();
            StoreError::State { id, state, advice }
        })?;
        self.replace(&record, StoredKey { state, ..record.info.clone() })
    }

    fn replace(&self, record: &Record, info: StoredKey) -> Result<StoredKey, StoreError> {
        if record.info == info {
            return Ok(info);
        }
        let changed = self.keys().open(|keys| {
            let here = (self.id(), keys);
            record.resealed(info, here, here)
        })?;
        self.commit(&[(Some(record), Some(&changed))])?;
        Ok(changed.info)
    }
}

/// A key whose deletion is scheduled stays so until that is cancelled.
fn unless_pending(state: StoredState, next: StoredState) -> Result<StoredState, Refusal> {
    match state {
        StoredState::PendingDeletion { .. } => Err(PENDING),
        _ => Ok(next),
    }
}
