//! Keys come into the store: generated, imported, derived, and as new versions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use kms_backend::Derivation;
use kms_keys::{KeyId, KeyType, SecretKey};

use super::transaction::Abort;
use super::{Store, Table};
use crate::clock::now;
use crate::error::StoreError;
use crate::format::digest::Digest;
use crate::format::record::{self, KeyFlags, Record, StoredKey, StoredState};
use crate::format::seal::OpenKeys;

/// A key that is to come into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewKey {
    /// Its name. No key of the store, destroyed ones included, may have it.
    pub id: KeyId,
    /// Its type.
    pub key_type: KeyType,
    /// Whether its secret may be exported.
    pub exportable: bool,
    /// What people note about it.
    pub labels: BTreeMap<String, String>,
}

/// How many keys one thread makes before it hands them to the one that writes.
const CHUNK: usize = 64;

/// How many chunks may wait for being written.
const WAITING: usize = 16;

/// Keys that one thread has made.
#[derive(Default)]
struct Chunk {
    /// Where they stand in the list of new keys.
    at: usize,
    infos: Vec<StoredKey>,
    /// Their records by name.
    records: Vec<(Vec<u8>, Vec<u8>)>,
    digest: Digest,
}

impl NewKey {
    /// A key that can't be exported, without labels.
    #[must_use]
    pub fn new(id: KeyId, key_type: KeyType) -> Self {
        Self { id, key_type, exportable: false, labels: BTreeMap::new() }
    }

    /// The same key, exportable or not.
    #[must_use]
    pub fn exportable(self, exportable: bool) -> Self {
        Self { exportable, ..self }
    }

    /// The same key with these labels.
    #[must_use]
    pub fn labels(self, labels: BTreeMap<String, String>) -> Self {
        Self { labels, ..self }
    }

    /// What is stored of it.
    fn info(&self, secret: &SecretKey, derivation: Option<Derivation>) -> StoredKey {
        StoredKey {
            id: self.id.clone(),
            key_type: self.key_type,
            version: 1,
            public_key: secret.public_key().to_hex(),
            state: StoredState::Active,
            created: now(),
            labels: self.labels.clone(),
            derivation,
            flags: KeyFlags { exportable: self.exportable, protected: true, retired: false },
        }
    }
}

impl Store {
    /// Generates keys on all cores and stores them in one transaction: all of them or none.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::AlreadyExists`] names the first id that is taken.
    pub fn generate(&self, new: &[NewKey]) -> Result<Vec<StoredKey>, StoreError> {
        let next = AtomicUsize::new(0);
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let mut infos: Vec<(usize, Vec<StoredKey>)> = Vec::new();
        let mut taken = None;
        let stored = self.transact(|transaction| {
            thread::scope(|scope| {
                let (sender, made) = sync_channel(WAITING);
                for _ in 0..cores.min(new.len().div_ceil(CHUNK)) {
                    let (sender, next) = (sender.clone(), &next);
                    scope.spawn(move || self.make_chunks(new, next, &sender));
                }
                drop(sender);
                // Written while others are still made. On an error the receiver is dropped, and
                // whoever still makes keys stops.
                for chunk in made {
                    let chunk = chunk.map_err(Abort::Refused)?;
                    let added = transaction.add_counted(&chunk.digest, &chunk.records);
                    added.map_err(|(at, abort)| {
                        taken = chunk.infos.get(at).map(|info| info.id.clone());
                        abort
                    })?;
                    infos.push((chunk.at, chunk.infos));
                }
                Ok(())
            })
        });
        stored.map_err(|failed| match taken {
            Some(id) => failed.of_key(&id),
            None => failed.or("only records with an id are added"),
        })?;
        infos.sort_by_key(|(at, _)| *at);
        Ok(infos.into_iter().flat_map(|(_, infos)| infos).collect())
    }

    /// Takes a key in that was made elsewhere.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::AlreadyExists`], if the id is taken;
    /// [`StoreError::TypeMismatch`] for a secret of another type than `new` says.
    pub fn import(&self, new: &NewKey, secret: &SecretKey) -> Result<StoredKey, StoreError> {
        self.add(new, secret, None)
    }

    /// Derives a key from a master of the store. The same master and path give the same key again.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::MasterNotFound`], [`StoreError::Derivation`] for a path that
    /// keys of this type can't have, [`StoreError::AlreadyExists`], if the id is taken.
    pub fn derive(&self, new: &NewKey, from: &Derivation) -> Result<StoredKey, StoreError> {
        let refused = |cause| StoreError::Derivation { id: new.id.clone(), cause };
        from.path.check(new.key_type).map_err(refused)?;
        let master = self.master(&from.master)?;
        // All on one stack that is wiped: seed and chain codes are as good as the key.
        let secret = self.keys().open(|keys| {
            let seed = master.open(self.id(), keys)?.into_seed().map_err(|cause| {
                let id = from.master.clone();
                StoreError::Mnemonic { id, cause }
            })?;
            seed.derive(new.key_type, &from.path).map_err(refused)
        })?;
        self.add(new, &secret, Some(from.clone()))
    }

    /// Makes a new version of a key the current one. The versions before stay.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::State`] for a key that is to be deleted, or one that was derived:
    /// its master and path have no other key.
    pub fn rotate(&self, id: &KeyId) -> Result<StoredKey, StoreError> {
        let newest = self.newest(id)?.info;
        let refused = |state, advice| Err(StoreError::State { id: id.clone(), state, advice });
        if let StoredState::PendingDeletion { .. } = newest.state {
            return refused("scheduled for deletion", "cancel the deletion first");
        }
        if newest.derivation.is_some() {
            return refused("derived from a master", "derive a key of another id and path instead");
        }
        let secret = SecretKey::generate(newest.key_type).map_err(StoreError::Generate)?;
        let version = newest.version.checked_add(1).ok_or(StoreError::Bug("versions are few"))?;
        let public_key = secret.public_key().to_hex();
        let info = StoredKey { version, public_key, created: now(), ..newest };
        let record = self.keys().open(|keys| Record::seal(info, &secret, self.id(), keys))?;
        self.commit(&[(None, Some(&record))])?;
        Ok(record.info)
    }

    fn add(
        &self,
        new: &NewKey,
        secret: &SecretKey,
        derivation: Option<Derivation>,
    ) -> Result<StoredKey, StoreError> {
        if secret.key_type() != new.key_type {
            let (id, expected, found) = (new.id.clone(), new.key_type, secret.key_type());
            return Err(StoreError::TypeMismatch { id, expected, found });
        }
        let info = new.info(secret, derivation);
        let record = self.keys().open(|keys| Record::seal(info, secret, self.id(), keys))?;
        self.commit(&[(None, Some(&record))])?;
        Ok(record.info)
    }

    /// Makes chunks of the new keys until there are no more, or nobody takes them.
    fn make_chunks(
        &self,
        new: &[NewKey],
        next: &AtomicUsize,
        made: &SyncSender<Result<Chunk, StoreError>>,
    ) {
        loop {
            let at = next.fetch_add(CHUNK, Ordering::Relaxed);
            if at >= new.len() {
                return;
            }
            let keys = &new[at..new.len().min(at + CHUNK)];
            let chunk = self.keys().open(|open| self.make_chunk(at, keys, open));
            let failed = chunk.is_err();
            if made.send(chunk).is_err() || failed {
                return;
            }
        }
    }

    fn make_chunk(
        &self,
        at: usize,
        new: &[NewKey],
        keys: &OpenKeys<'_>,
    ) -> Result<Chunk, StoreError> {
        let mut chunk = Chunk { at, ..Chunk::default() };
        for new in new {
            let secret = SecretKey::generate(new.key_type).map_err(StoreError::Generate)?;
            let record = Record::seal(new.info(&secret, None), &secret, self.id(), keys)?;
            let (name, bytes) = (record::name(&new.id, 1), record.to_bytes()?);
            chunk.digest.add(keys.digest, Table::Records.as_str(), &name, &bytes);
            chunk.records.push((name, bytes));
            chunk.infos.push(record.info);
        }
        Ok(chunk)
    }
}
