//! The open store: one database file, every change of it one durable transaction.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kms_keys::{KeyId, SecretKey};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::error::StoreError;
use crate::file::{self, DiskFile, Medium};
use crate::format::digest::Digest;
use crate::format::header::Header;
use crate::format::record::{self, Record, RecordInfo};
use crate::format::seal::{StoreKeys, random_key};
use crate::format::unlocker::{UnlockSecret, Unlocker};
use crate::lock::WriterLock;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// The part of the header that stands in clear, and the hidden one.
const HEADER: &str = "header";
const HIDDEN: &str = "hidden";

/// An open store. Dropping it releases its lock and wipes its keys.
pub(crate) struct Store {
    medium: Box<dyn Medium>,
    header: Vec<u8>,
    id: [u8; 16],
    keys: StoreKeys,
    /// Writers take turns; the digest is the one of what is committed.
    state: Mutex<State>,
    _lock: Option<WriterLock>,
}

struct State {
    /// `None` after a failed write, until it has been opened again.
    database: Option<redb::Database>,
    digest: Digest,
}

/// A change of one record: what it was, and what it shall be.
pub(crate) struct Change<'a> {
    pub(crate) old: Option<&'a Record>,
    pub(crate) new: Option<&'a Record>,
}

impl Store {
    /// Makes a new, empty store at `path` that `secret` opens. The file is there with all its content
    /// or not at all. Blocks for the key derivation and the disk.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Exists`] where there is a file already.
    pub(crate) fn create(path: &Path, secret: &UnlockSecret) -> Result<Self, StoreError> {
        let lock = WriterLock::acquire(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.into() });
        }
        let contents = NewStore::sealed_for(secret)?;
        file::create_whole(path, |database| contents.write(database))?;
        Self::open_on(Box::new(DiskFile(path.into())), Some(lock), secret)
    }

    /// Opens the store at `path`, and proves that every record in it is the one that was last
    /// written. Blocks for the key derivation and the disk.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Missing`], [`StoreError::InUse`], [`StoreError::WrongKey`], and
    /// whatever is wrong with what is stored.
    pub(crate) fn open(path: &Path, secret: &UnlockSecret) -> Result<Self, StoreError> {
        if path.symlink_metadata().is_err() {
            return Err(StoreError::Missing { path: path.into() });
        }
        let lock = WriterLock::acquire(path)?;
        Self::open_on(Box::new(DiskFile(path.into())), Some(lock), secret)
    }

    pub(crate) fn open_on(
        medium: Box<dyn Medium>,
        lock: Option<WriterLock>,
        secret: &UnlockSecret,
    ) -> Result<Self, StoreError> {
        let database = medium.open()?;
        let contents = contents(&database).map_err(|error| medium.failed("read", error))?;
        let (Some(header), Some(hidden)) = (contents.header, contents.hidden) else {
            return Err(StoreError::Header("a part of it is missing"));
        };
        let parsed = Header::from_bytes(&header)?;
        let store_key = parsed.unlock(secret)?;
        let keys = StoreKeys::derive(&store_key, &parsed.store)?;
        let expected = Header::open(&header, &keys, &hidden)?;

        let mut digest = Digest::default();
        for (name, record) in &contents.records {
            Record::from_bytes(name, record)?;
            digest.add(&keys.digest, name, record);
        }
        if digest != expected {
            return Err(StoreError::Records);
        }
        let state = Mutex::new(State { database: Some(database), digest });
        Ok(Self { medium, header, id: parsed.store, keys, state, _lock: lock })
    }

    /// All versions of a key, the newest last; none if there is no such key.
    pub(crate) fn versions(&self, id: &KeyId) -> Result<Vec<Record>, StoreError> {
        let (first, last) = (record::name(id, 0), record::name(id, u32::MAX));
        let found = self.read(|records| {
            let mut found = Vec::new();
            for entry in records.range(first.as_slice()..=last.as_slice())? {
                let (name, bytes) = entry?;
                found.push(Record::from_bytes(name.value(), bytes.value()));
            }
            Ok(found)
        })?;
        found.into_iter().collect()
    }

    /// Up to `limit` records of newest versions, in the order of their ids, from behind `after` on.
    pub(crate) fn page(
        &self,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<RecordInfo>, StoreError> {
        let first = after.map_or(Vec::new(), |id| record::name(id, u32::MAX));
        let found = self.read(|records| {
            let mut found: Vec<Result<RecordInfo, StoreError>> = Vec::new();
            for entry in records.range(first.as_slice()..)? {
                let (name, bytes) = entry?;
                if name.value() == first {
                    continue;
                }
                let info = Record::from_bytes(name.value(), bytes.value()).map(|r| r.info);
                // A later version of the key before takes its place.
                let same_key = |last: &Result<RecordInfo, _>| match (last, &info) {
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

    /// A record that seals `secret`, not stored yet.
    pub(crate) fn seal(&self, info: RecordInfo, secret: &SecretKey) -> Result<Record, StoreError> {
        Record::seal(info, secret, &self.id, &self.keys)
    }

    /// The secret of a record of this store.
    pub(crate) fn unseal(&self, record: &Record) -> Result<SecretKey, StoreError> {
        record.open(&self.id, &self.keys)
    }

    /// The same secret with other things known of it, not stored yet.
    pub(crate) fn reseal(&self, record: &Record, info: RecordInfo) -> Result<Record, StoreError> {
        record.with_info(info, &self.id, &self.keys)
    }

    /// Makes all `changes` or none. They are on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; the store is as it was before. [`StoreError::AlreadyExists`] and
    /// [`StoreError::NotFound`] where a record isn't what the change says it was.
    pub(crate) fn commit(&self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        let mut state = self.state();
        let mut digest = state.digest.clone();
        let mut named = Vec::with_capacity(changes.len());
        for Change { old, new } in changes {
            let Some(record) = new.or(*old) else { continue };
            let name = record::name(&record.info.id, record.info.version);
            let old = old.map(Record::to_bytes).transpose()?;
            let bytes = new.map(Record::to_bytes).transpose()?;
            if let Some(old) = &old {
                digest.remove(&self.keys.digest, &name, old);
            }
            if let Some(bytes) = &bytes {
                digest.add(&self.keys.digest, &name, bytes);
            }
            named.push((record.info.id.clone(), name, old, bytes));
        }
        let hidden = Header::seal(&self.header, &self.keys, &digest)?;

        let database = self.database(&mut state)?;
        let written = (|| -> Result<Option<StoreError>, redb::Error> {
            let transaction = database.begin_write()?;
            {
                let mut records = transaction.open_table(RECORDS)?;
                for (id, name, old, bytes) in &named {
                    let before = match bytes {
                        Some(bytes) => records.insert(name.as_slice(), bytes.as_slice())?,
                        None => records.remove(name.as_slice())?,
                    };
                    let before = before.map(|before| before.value().to_vec());
                    if before != *old {
                        let id = id.clone();
                        return Ok(Some(match before {
                            Some(_) => StoreError::AlreadyExists(id),
                            None => StoreError::NotFound(id),
                        }));
                    }
                }
                transaction.open_table(META)?.insert(HIDDEN, hidden.as_slice())?;
            }
            transaction.commit()?;
            Ok(None)
        })();
        match written {
            Ok(None) => {
                state.digest = digest;
                Ok(())
            }
            Ok(Some(refused)) => Err(refused),
            Err(error) => {
                // The database takes no more after a failed write; it is opened again for the next.
                state.database = None;
                Err(self.medium.failed("written", error))
            }
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let mut state = self.state();
        let database = self.database(&mut state)?;
        let result = (|| {
            let reading = database.begin_read()?;
            read(&reading.open_table(RECORDS)?)
        })();
        result.map_err(|error| self.medium.failed("read", error))
    }

    fn database<'s>(&self, state: &'s mut State) -> Result<&'s redb::Database, StoreError> {
        if state.database.is_none() {
            state.database = Some(self.medium.open()?);
        }
        state.database.as_ref().ok_or(StoreError::Bug("it was just opened"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a new store begins with.
pub(crate) struct NewStore {
    header: Vec<u8>,
    hidden: Vec<u8>,
}

impl NewStore {
    /// A header that `secret` opens, of an empty store.
    pub(crate) fn sealed_for(secret: &UnlockSecret) -> Result<Self, StoreError> {
        let store_key = random_key()?;
        let mut header = Header::fresh()?;
        let keys = StoreKeys::derive(&store_key, &header.store)?;
        header.unlockers.push(Unlocker::new("first", secret, &header.store, &store_key)?);
        let header = header.to_bytes()?;
        let hidden = Header::seal(&header, &keys, &Digest::default())?;
        Ok(Self { header, hidden })
    }

    /// Writes it in one durable transaction.
    pub(crate) fn write(&self, database: &redb::Database) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(HEADER, self.header.as_slice())?;
            meta.insert(HIDDEN, self.hidden.as_slice())?;
            transaction.open_table(RECORDS)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// All that is in a database, unchecked.
struct Contents {
    header: Option<Vec<u8>>,
    hidden: Option<Vec<u8>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

fn contents(database: &redb::Database) -> Result<Contents, redb::Error> {
    let reading = database.begin_read()?;
    let meta = reading.open_table(META)?;
    let part = |name: &str| -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(meta.get(name)?.map(|part| part.value().to_vec()))
    };
    let (header, hidden) = (part(HEADER)?, part(HIDDEN)?);
    let mut records = Vec::new();
    for entry in reading.open_table(RECORDS)?.iter()? {
        let (name, record) = entry?;
        records.push((name.value().to_vec(), record.value().to_vec()));
    }
    Ok(Contents { header, hidden, records })
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("medium", &self.medium).finish_non_exhaustive()
    }
}
