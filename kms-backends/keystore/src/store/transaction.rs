//! Transactions: all of a change or nothing of it, and the digest with it.

use redb::ReadableTable;

use super::{Hidden, State, Store};
use crate::error::StoreError;
use crate::file::{HEADER, HIDDEN, META, Opened};
use crate::format::digest::Digest;
use crate::format::header::Header;
use crate::format::master::MasterRecord;
use crate::format::record::{self, Record};
use crate::format::seal::StoreKeys;

/// A table of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// A record for each version of each key.
    Records,
    /// What keys are derived from.
    Masters,
}

/// A transaction under way. What it did is undone unless it is committed.
pub(super) struct Transaction<'t> {
    tables: [redb::Table<'t, &'static [u8], &'static [u8]>; 2],
    digest: Digest,
    keys: &'t StoreKeys,
}

/// A change of an entry: what it was, and what it shall be.
pub(super) struct Change {
    pub(super) table: Table,
    pub(super) name: Vec<u8>,
    pub(super) old: Option<Vec<u8>>,
    pub(super) new: Option<Vec<u8>>,
}

/// An entry of a table: its name, and what is stored under it.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// Why a transaction isn't committed.
pub(super) enum Abort {
    /// The database failed.
    Database(redb::Error),
    /// An entry isn't what the change says it was: there is one, or none.
    Mismatch { exists: bool },
    /// Whoever changes has a reason not to.
    Refused(StoreError),
}

impl Table {
    /// Every table.
    pub(crate) const ALL: [Self; 2] = [Self::Records, Self::Masters];

    /// The name in the file.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Masters => "masters",
        }
    }

    pub(crate) const fn definition(
        self,
    ) -> redb::TableDefinition<'static, &'static [u8], &'static [u8]> {
        redb::TableDefinition::new(self.as_str())
    }
}

impl Transaction<'_> {
    /// Makes a change.
    pub(super) fn change(&mut self, change: &Change) -> Result<(), Abort> {
        let Change { table, name, old, new } = change;
        let counted = self.keys.open(|keys| {
            if let Some(old) = old {
                self.digest.remove(keys.digest, table.as_str(), name, old);
            }
            if let Some(new) = new {
                self.digest.add(keys.digest, table.as_str(), name, new);
            }
            Ok(())
        });
        counted.map_err(Abort::Refused)?;
        self.put(*table, name, old.as_deref(), new.as_deref())
    }

    /// Takes new records in that `digest` has counted already. The error tells which of them.
    pub(super) fn add_counted(
        &mut self,
        digest: &Digest,
        records: &[Entry],
    ) -> Result<(), (usize, Abort)> {
        self.digest.join(digest);
        records.iter().enumerate().try_for_each(|(at, (name, new))| {
            self.put(Table::Records, name, None, Some(new)).map_err(|abort| (at, abort))
        })
    }

    /// Counts from nothing: every entry is about to be counted in again. What they add up to now must
    /// be what they did when they were written.
    pub(super) fn restart_digest(&mut self, now: &Digest) -> Result<(), Abort> {
        if self.digest != *now {
            return Err(Abort::Refused(StoreError::Records));
        }
        self.digest = Digest::default();
        Ok(())
    }

    /// Replaces an entry that the digest has not counted.
    pub(super) fn exchange(
        &mut self,
        table: Table,
        (name, old): &Entry,
        new: &[u8],
    ) -> Result<(), Abort> {
        let counted = self.keys.open(|keys| {
            self.digest.add(keys.digest, table.as_str(), name, new);
            Ok(())
        });
        counted.map_err(Abort::Refused)?;
        self.put(table, name, Some(old), Some(new))
    }

    fn put(
        &mut self,
        table: Table,
        name: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<(), Abort> {
        let entries = &mut self.tables[table as usize];
        let before = match new {
            Some(new) => entries.insert(name, new),
            None => entries.remove(name),
        };
        let before = before.map_err(|error| Abort::Database(error.into()))?;
        match (before.as_ref().map(redb::AccessGuard::value), old) {
            (None, None) => Ok(()),
            (Some(before), Some(old)) if before == old => Ok(()),
            (before, _) => Err(Abort::Mismatch { exists: before.is_some() }),
        }
    }

    /// Every entry of a table, as it is now.
    pub(super) fn entries(&self, table: Table) -> Result<Vec<Entry>, redb::Error> {
        let mut entries = Vec::new();
        for entry in self.tables[table as usize].iter()? {
            let (name, bytes) = entry?;
            entries.push((name.value().to_vec(), bytes.value().to_vec()));
        }
        Ok(entries)
    }
}

impl Store {
    /// Has `change` change the store, in one durable transaction.
    pub(super) fn transact<T>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Abort>,
    ) -> Result<T, Failed> {
        self.transact_under(&self.sealing.bytes, self.keys(), change)
    }

    /// The same, leaving the store with this header and sealed with these keys.
    pub(super) fn transact_under<T>(
        &self,
        header: &[u8],
        keys: &StoreKeys,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Abort>,
    ) -> Result<T, Failed> {
        if self.medium.is_read_only() {
            return Err(StoreError::ReadOnly { path: self.path() }.into());
        }
        let mut state = self.state();
        // Opening the database again may change what is known to be committed.
        self.database(&mut state)?;
        let digest = state.committed.digest.clone();
        let database = match self.database(&mut state)? {
            Opened::Writer(database) => database,
            Opened::Reader(_) => return Err(StoreError::ReadOnly { path: self.path() }.into()),
        };
        let mut attempted = None;
        let written = (|| {
            let transaction = database.begin_write().map_err(failed)?;
            let (answer, digest) = {
                let open = |table: Table| transaction.open_table(table.definition());
                let mut changing = Transaction {
                    tables: [
                        open(Table::Records).map_err(failed)?,
                        open(Table::Masters).map_err(failed)?,
                    ],
                    digest,
                    keys,
                };
                (change(&mut changing)?, changing.digest)
            };
            let bytes = keys.open(|keys| Header::seal(header, keys, &digest));
            let bytes = bytes.map_err(Abort::Refused)?;
            {
                let mut meta = transaction.open_table(META).map_err(failed)?;
                if header != self.sealing.bytes {
                    meta.insert(HEADER, header).map_err(failed)?;
                }
                meta.insert(HIDDEN, bytes.as_slice()).map_err(failed)?;
            }
            let hidden = attempted.insert(Hidden { bytes, digest }).clone();
            transaction.commit().map_err(failed)?;
            Ok((answer, hidden))
        })();
        match written {
            Ok((answer, hidden)) => {
                state.committed = hidden;
                state.attempted = None;
                self.set_failure(None);
                Ok(answer)
            }
            Err(Abort::Refused(error)) => Err(error.into()),
            Err(Abort::Mismatch { exists }) => Err(Failed::Mismatch { exists }),
            Err(Abort::Database(error)) => {
                // The database takes no more after a failed write; it is opened again for the next.
                state.database = None;
                state.attempted = attempted;
                let error = self.medium.failed("written", error);
                self.set_failure(Some(kms_backend::ErrorChain(&error).to_string()));
                Err(error.into())
            }
        }
    }

    /// Makes all changes of keys' records or none.
    pub(super) fn commit(
        &self,
        changes: &[(Option<&Record>, Option<&Record>)],
    ) -> Result<(), StoreError> {
        for (old, new) in changes {
            let Some(record) = new.or(*old) else { continue };
            // All changes of a commit are of one key, so whichever of them fails tells its id.
            let id = &record.info.id;
            return self
                .transact(|transaction| {
                    for (old, new) in changes {
                        let Some(record) = new.or(*old) else { continue };
                        let bytes = |record: Option<&Record>| {
                            record.map(Record::to_bytes).transpose().map_err(Abort::Refused)
                        };
                        transaction.change(&Change {
                            table: Table::Records,
                            name: record::name(&record.info.id, record.info.version),
                            old: bytes(*old)?,
                            new: bytes(*new)?,
                        })?;
                    }
                    Ok(())
                })
                .map_err(|failed| failed.of_key(id));
        }
        Ok(())
    }

    /// Adds a master.
    pub(super) fn commit_master(&self, master: &MasterRecord) -> Result<(), StoreError> {
        let change = Change {
            table: Table::Masters,
            name: master.info.id.as_str().as_bytes().to_vec(),
            old: None,
            new: Some(master.to_bytes()?),
        };
        self.transact(|transaction| transaction.change(&change)).map_err(|failed| match failed {
            Failed::Mismatch { .. } => StoreError::MasterExists(master.info.id.clone()),
            Failed::Store(error) => error,
        })
    }

    /// The database, opened again if the last write failed. Whatever that write left behind is what
    /// was there before or what it was to leave; anything else is not this store.
    pub(super) fn database<'s>(&self, state: &'s mut State) -> Result<&'s Opened, StoreError> {
        if state.database.is_none() {
            let database = self.medium.open()?;
            let failed = |error| self.medium.failed("read", error);
            let (_, hidden) =
                database.contents().and_then(|contents| contents.header()).map_err(failed)?;
            if hidden.as_deref() != Some(&state.committed.bytes) {
                match state.attempted.take() {
                    Some(attempted) if hidden.as_deref() == Some(&attempted.bytes) => {
                        state.committed = attempted;
                    }
                    _ => return Err(StoreError::Records),
                }
            }
            state.attempted = None;
            state.database = Some(database);
        }
        state.database.as_ref().ok_or(StoreError::Bug("it was just opened"))
    }
}

/// Why a transaction failed.
pub(super) enum Failed {
    /// An entry isn't what the change says it was.
    Mismatch { exists: bool },
    /// Anything else.
    Store(StoreError),
}

impl Failed {
    /// The error, where nothing can fail to match unless `bug` is one.
    pub(super) fn or(self, bug: &'static str) -> StoreError {
        match self {
            Self::Mismatch { .. } => StoreError::Bug(bug),
            Self::Store(error) => error,
        }
    }

    /// The error, where what doesn't match is the record of a key.
    pub(super) fn of_key(self, id: &kms_keys::KeyId) -> StoreError {
        match self {
            Self::Mismatch { exists: true } => StoreError::AlreadyExists(id.clone()),
            Self::Mismatch { exists: false } => StoreError::NotFound(id.clone()),
            Self::Store(error) => error,
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn failed(error: impl Into<redb::Error>) -> Abort {
    Abort::Database(error.into())
}
