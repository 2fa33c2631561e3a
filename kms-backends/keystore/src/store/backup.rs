//! Copies of a store: a backup under a secret of its own, what is restored from one, and the store
//! itself written anew.
//!
//! A backup is a store like any other. Whoever has its file and its passphrase has every key in it,
//! those that can't be exported too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kms_keys::KeyId;

use super::transaction::Change;
use super::unlock::{both_open, resealed};
use super::{Sealing, Store, Table};
use crate::error::StoreError;
use crate::file::{self, HEADER, HIDDEN, META};
use crate::format::digest::Digest;
use crate::format::header::Header;
use crate::format::master::StoredMaster;
use crate::format::record::{self, Record, StoredState};
use crate::format::seal::random_key;
use crate::format::unlocker::{UnlockSecret, Unlocker};

/// What restoring a backup into a store would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestorePlan {
    /// The keys that are not in the store.
    pub add: BTreeSet<KeyId>,
    /// The keys of which the backup has newer versions, which would be added.
    pub newer: BTreeSet<KeyId>,
    /// The keys that are in the store already and stay as they are there.
    pub present: BTreeSet<KeyId>,
    /// The keys that were destroyed in the store and would come back.
    pub revive: BTreeSet<KeyId>,
    /// The masters that are not in the store.
    pub masters: BTreeSet<KeyId>,
}

type Entries = Vec<(Table, Vec<u8>, Vec<u8>)>;

impl Store {
    /// Writes everything in the store to a new store at `path` that `secret` opens: every version,
    /// state, flag and master. Gives how many records it has. Blocks for the key derivation too.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Exists`], if there is a file at `path`.
    pub fn backup(&self, path: &Path, secret: &UnlockSecret) -> Result<u64, StoreError> {
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.into() });
        }
        let store_key = random_key()?;
        let mut header = Header::fresh()?;
        let unlocker = Unlocker::new(super::unlock::FIRST, secret, &header.store, &store_key)?;
        header.unlockers.push(unlocker);
        let sealing = Sealing::new(header, &store_key)?;

        let entries = self.entries()?;
        let (resealed, hidden) = both_open(self.keys(), &sealing.keys, |from, to| {
            let (from, to) = ((self.id(), from), (&sealing.header.store, to));
            let mut digest = Digest::default();
            let mut all = Entries::with_capacity(entries.len());
            for (table, name, bytes) in entries {
                let bytes = resealed(table, &name, &bytes, from, to)?;
                digest.add(to.1.digest, table.as_str(), &name, &bytes);
                all.push((table, name, bytes));
            }
            Ok((all, Header::seal(&sealing.bytes, to.1, &digest)?))
        })?;
        file::create_whole(path, |database| {
            write_all(database, &sealing.bytes, &hidden, &resealed)
        })?;
        Ok(resealed.len() as u64)
    }

    /// What restoring `backup` into this store would do. Every secret of the backup is opened and
    /// proved to be the one of its public key; `seen` is told after each.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::BackupDamaged`]; [`StoreError::Conflict`], if there are other keys
    /// or masters here under ids of the backup.
    pub fn plan_restore(
        &self,
        backup: &Self,
        seen: impl FnMut(),
    ) -> Result<RestorePlan, StoreError> {
        backup.prove_backup(seen)?;
        let mut plan = RestorePlan::default();
        let mut conflicts = BTreeSet::new();
        for (id, versions) in backup.all_records()? {
            let here = self.records(&id)?;
            let clash = |theirs: &Record| {
                let same = here.iter().find(|ours| ours.info.version == theirs.info.version);
                same.is_some_and(|ours| ours.info.public_key != theirs.info.public_key)
            };
            let is_gone = |records: &[Record]| {
                let newest = records.last().map(|record| record.info.state);
                matches!(newest, Some(StoredState::Destroyed { .. }))
            };
            if here.is_empty() {
                plan.add.insert(id);
            } else if versions.iter().any(clash) {
                conflicts.insert(id.to_string());
            } else if is_gone(&here) && !is_gone(&versions) {
                plan.revive.insert(id);
            } else if versions.len() > here.len() {
                plan.newer.insert(id);
            } else {
                plan.present.insert(id);
            }
        }
        let here: BTreeMap<_, _> = self.masters()?.into_iter().map(|m| (m.id.clone(), m)).collect();
        for master in backup.masters()? {
            match here.get(&master.id) {
                None => drop(plan.masters.insert(master.id)),
                Some(ours) => {
                    if !self.same_master(backup, ours, &master)? {
                        conflicts.insert(master.id.to_string());
                    }
                }
            }
        }
        if conflicts.is_empty() {
            Ok(plan)
        } else {
            Err(StoreError::Conflict(conflicts.into_iter().collect()))
        }
    }

    /// What is in this backup, for a store that is to be made of it by [`Store::backup`]. Every secret is
    /// opened and proved, as [`Store::plan_restore`] does it.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::BackupDamaged`].
    pub fn plan_whole(&self, seen: impl FnMut()) -> Result<RestorePlan, StoreError> {
        self.prove_backup(seen)?;
        let mut plan = RestorePlan::default();
        plan.add.extend(self.all_records()?.into_keys());
        plan.masters.extend(self.masters()?.into_iter().map(|master| master.id));
        Ok(plan)
    }

    fn prove_backup(&self, seen: impl FnMut()) -> Result<(), StoreError> {
        let mut problems = self.verify(seen)?.problems.into_iter();
        match problems.next() {
            None => Ok(()),
            Some(first) => {
                let (problems, first) = (1 + problems.len(), Box::new(first));
                Err(StoreError::BackupDamaged { problems, first })
            }
        }
    }

    /// Does what [`Store::plan_restore`] said, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn restore(&self, backup: &Self, plan: &RestorePlan) -> Result<(), StoreError> {
        let resealed = |table, name: &[u8], bytes: &[u8]| {
            both_open(backup.keys(), self.keys(), |from, to| {
                resealed(table, name, bytes, (backup.id(), from), (self.id(), to))
            })
        };
        let mut changes = Vec::new();
        for (id, versions) in backup.all_records()? {
            let is_newer = plan.newer.contains(&id);
            if !is_newer && !plan.revive.contains(&id) && !plan.add.contains(&id) {
                continue;
            }
            let mut here = BTreeMap::new();
            for record in self.records(&id)? {
                let name = record::name(&id, record.info.version);
                here.insert(name, record.to_bytes()?);
            }
            for record in versions {
                let name = record::name(&id, record.info.version);
                if is_newer && here.remove(&name).is_some() {
                    continue;
                }
                let new = Some(resealed(Table::Records, &name, &record.to_bytes()?)?);
                let old = here.remove(&name);
                changes.push(Change { table: Table::Records, name, old, new });
            }
            // Versions that are newer than the backup were destroyed with their key, and nothing but
            // their records is left of them.
            let newer = here.into_iter();
            changes.extend(newer.map(|(name, old)| Change {
                table: Table::Records,
                name,
                old: Some(old),
                new: None,
            }));
        }
        for id in &plan.masters {
            let (table, name) = (Table::Masters, id.as_str().as_bytes().to_vec());
            let new = Some(resealed(table, &name, &backup.master(id)?.to_bytes()?)?);
            changes.push(Change { table, name, old: None, new });
        }
        self.transact(|transaction| {
            changes.iter().try_for_each(|change| transaction.change(change))
        })
        .map_err(|failed| failed.or("the plan was made from what is in the store"))
    }

    /// Writes the whole store into a new file that takes the old one's place, which is overwritten:
    /// what was sealed for good before, under keys that are gone, is in no part of the file any more.
    /// On disks and file systems that never write in place, old blocks may survive all the same.
    ///
    /// # Errors
    /// [`StoreError`]; the store is whole all the same, as it was before or written anew.
    pub fn rewrite(&mut self) -> Result<(), StoreError> {
        if self.lock.is_none() {
            return Err(StoreError::ReadOnly { path: self.path() });
        }
        let entries = self.entries()?;
        let path = self.path();
        let mut state = self.state();
        let (header, hidden) = (&self.sealing.bytes, state.committed.bytes.clone());
        // From here on what is open may be the old file.
        state.database = None;
        let replaced =
            file::replace_whole(&path, |database| write_all(database, header, &hidden, &entries));
        replaced?.overwrite(&path)
    }

    /// Everything in the store, proved to be what was last written.
    fn entries(&self) -> Result<Entries, StoreError> {
        let mut entries = Entries::new();
        let (header, hidden) = self.read(|contents| {
            for table in Table::ALL {
                let Ok(()) = contents.each(table, |name, bytes| {
                    entries.push((table, name.to_vec(), bytes.to_vec()));
                    Ok::<_, std::convert::Infallible>(())
                })?;
            }
            contents.header()
        })?;
        let (Some(header), Some(hidden)) = (header, hidden) else {
            return Err(StoreError::Header("a part of it is missing"));
        };
        self.keys().open(|keys| {
            let mut digest = Digest::default();
            for (table, name, bytes) in &entries {
                digest.add(keys.digest, table.as_str(), name, bytes);
            }
            match Header::open(&header, keys, &hidden)? == digest {
                true => Ok(entries),
                false => Err(StoreError::Records),
            }
        })
    }

    fn all_records(&self) -> Result<BTreeMap<KeyId, Vec<Record>>, StoreError> {
        let mut keys: BTreeMap<KeyId, Vec<Record>> = BTreeMap::new();
        self.read(|contents| {
            contents.each(Table::Records, |name, bytes| {
                let record = Record::from_bytes(name, bytes)?;
                keys.entry(record.info.id.clone()).or_default().push(record);
                Ok::<_, StoreError>(())
            })
        })??;
        Ok(keys)
    }

    fn same_master(
        &self,
        other: &Self,
        ours: &StoredMaster,
        theirs: &StoredMaster,
    ) -> Result<bool, StoreError> {
        let here = self.unseal_master(&self.master(&ours.id)?)?;
        let there = other.unseal_master(&other.master(&theirs.id)?)?;
        Ok(here.is_same(&there))
    }
}

fn write_all(
    database: &redb::Database,
    header: &[u8],
    hidden: &[u8],
    entries: &Entries,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(HEADER, header)?;
        meta.insert(HIDDEN, hidden)?;
        for table in Table::ALL {
            let mut open = transaction.open_table(table.definition())?;
            for (_, name, bytes) in entries.iter().filter(|(of, ..)| *of == table) {
                open.insert(name.as_slice(), bytes.as_slice())?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}
