//! What is in the store.

use kms_keys::KeyId;

use super::{Store, Table};
use crate::error::StoreError;
use crate::file::HeaderParts;
use crate::format::header::Header;
use crate::format::master::{MasterRecord, StoredMaster};
use crate::format::record::{self, Record, StoredKey};
use crate::format::unlocker::Unlocker;

impl Store {
    /// All versions of a key, the newest last.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NotFound`], if there is no such key.
    pub fn versions(&self, id: &KeyId) -> Result<Vec<StoredKey>, StoreError> {
        let versions = self.records(id)?;
        if versions.is_empty() {
            return Err(StoreError::NotFound(id.clone()));
        }
        Ok(versions.into_iter().map(|record| record.info).collect())
    }

    /// Up to `limit` keys, each by its newest version, in the order of their ids, from behind `after`
    /// on. How many keys there are in all doesn't matter.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn page(&self, after: Option<&KeyId>, limit: usize) -> Result<Vec<StoredKey>, StoreError> {
        let first = after.map_or(Vec::new(), |id| record::name(id, u32::MAX));
        let found = self.read(|contents| {
            let mut found: Vec<Result<StoredKey, StoreError>> = Vec::new();
            for entry in contents.table(Table::Records)?.range(first.as_slice()..)? {
                let (name, bytes) = entry?;
                if name.value() == first {
                    continue;
                }
                let info = Record::from_bytes(name.value(), bytes.value()).map(|r| r.info);
                // A later version of the key before takes its place.
                let same_key = |last: &Result<StoredKey, _>| match (last, &info) {
                    (Ok(last), Ok(info)) => last.id == info.id,
                    _ => false,
                };
                if found.last().is_some_and(same_key) {
                    found.pop();
                } else if found.len() == limit {
                    break;
                }
                found.push(info);
            }
            Ok(found)
        })?;
        found.into_iter().collect()
    }

    /// Every master, in the order of their names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn masters(&self) -> Result<Vec<StoredMaster>, StoreError> {
        let mut masters = Vec::new();
        self.read(|contents| {
            contents.each(Table::Masters, |name, bytes| {
                masters.push(MasterRecord::from_bytes(name, bytes)?.info);
                Ok(())
            })
        })??;
        Ok(masters)
    }

    /// The ways to open the store.
    #[must_use]
    pub fn unlockers(&self) -> &[Unlocker] {
        &self.sealing.header.unlockers
    }

    /// All versions of a key, the newest last; none if there is no such key.
    pub(crate) fn records(&self, id: &KeyId) -> Result<Vec<Record>, StoreError> {
        let (first, last) = (record::name(id, 0), record::name(id, u32::MAX));
        let found = self.read(|contents| {
            let mut found = Vec::new();
            let records = contents.table(Table::Records)?;
            for entry in records.range(first.as_slice()..=last.as_slice())? {
                let (name, bytes) = entry?;
                found.push(Record::from_bytes(name.value(), bytes.value()));
            }
            Ok(found)
        })?;
        found.into_iter().collect()
    }

    /// The newest version of a key that is not destroyed.
    pub(crate) fn newest(&self, id: &KeyId) -> Result<Record, StoreError> {
        let newest = self.records(id)?.pop().ok_or_else(|| StoreError::NotFound(id.clone()))?;
        newest.unless_destroyed()
    }

    pub(super) fn master(&self, id: &KeyId) -> Result<MasterRecord, StoreError> {
        let name = id.as_str().as_bytes();
        let found = self.read(|contents| {
            let found = contents.table(Table::Masters)?;
            Ok(found.get(name)?.map(|bytes| MasterRecord::from_bytes(name, bytes.value())))
        })?;
        found.unwrap_or_else(|| Err(StoreError::MasterNotFound(id.clone())))
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&crate::file::Contents) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let contents = {
            let mut state = self.state();
            self.database(&mut state)?.contents()
        };
        let failed = |error| self.medium.failed("read", error);
        let contents = contents.map_err(failed)?;
        if self.medium.is_read_only() {
            self.expect_same_keys(&contents.header().map_err(failed)?)?;
        }
        read(&contents).map_err(failed)
    }

    /// Whoever writes to a store that is read here may have sealed it anew, under keys that are not known
    /// here.
    fn expect_same_keys(&self, header: &HeaderParts) -> Result<(), StoreError> {
        let (Some(header), Some(hidden)) = header else {
            return Err(StoreError::Header("a part of it is missing"));
        };
        match self.keys().open(|keys| Header::open(header, keys, hidden)) {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::SealedAnew { path: self.path() }),
        }
    }
}
