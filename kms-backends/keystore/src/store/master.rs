//! Masters come into the store, and out of it where that is allowed.

use kms_keys::KeyId;

use super::Store;
use crate::clock::now;
use crate::error::StoreError;
use crate::format::master::{MasterRecord, MasterSecret, StoredMaster};

impl Store {
    /// Takes in a secret that keys are derived from.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::MasterExists`], if the name is taken.
    pub fn add_master(
        &self,
        id: &KeyId,
        secret: &MasterSecret,
        exportable: bool,
    ) -> Result<StoredMaster, StoreError> {
        let (id, kind) = (id.clone(), secret.kind());
        let info = StoredMaster { id, kind, created: now(), exportable };
        let record = self.keys().open(|keys| MasterRecord::seal(info, secret, self.id(), keys))?;
        self.commit_master(&record)?;
        Ok(record.info)
    }

    /// The secret of a master that was made exportable.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NotExportable`].
    pub fn export_master(&self, id: &KeyId) -> Result<MasterSecret, StoreError> {
        let record = self.master(id)?;
        if !record.info.exportable {
            return Err(StoreError::NotExportable(id.clone()));
        }
        self.unseal_master(&record)
    }

    /// The secret of a master of this store.
    pub(super) fn unseal_master(&self, record: &MasterRecord) -> Result<MasterSecret, StoreError> {
        self.keys().open(|keys| record.open(self.id(), keys))
    }
}
