//! What opens the store: unlockers come and go, and the store key can be replaced.

use super::transaction::Abort;
use super::{Sealing, Store, Table};
use crate::error::StoreError;
use crate::file::{HEADER, HIDDEN, META};
use crate::format::digest::Digest;
use crate::format::header::{Header, MOST_UNLOCKERS};
use crate::format::master::MasterRecord;
use crate::format::record::Record;
use crate::format::seal::{OpenKeys, StoreKey, StoreKeys, random_key};
use crate::format::unlocker::{UnlockSecret, Unlocker};

/// The name of a new store's only unlocker.
pub(crate) const FIRST: &str = "first";

impl Store {
    /// The unlocker that `secret` opens. Blocks for the key derivations.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::WrongKey`].
    pub fn unlocker(&self, secret: &UnlockSecret) -> Result<&Unlocker, StoreError> {
        let (at, _) = self.sealing.header.find(secret)?;
        self.unlockers().get(at).ok_or(StoreError::Bug("it was found there"))
    }

    /// Adds an unlocker. `current` is what opens the store now. Blocks for the key derivations.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::WrongKey`], [`StoreError::UnlockerExists`],
    /// [`StoreError::TooManyUnlockers`].
    pub fn add_unlocker(
        &mut self,
        current: &UnlockSecret,
        name: &str,
        secret: &UnlockSecret,
    ) -> Result<(), StoreError> {
        let unlockers = self.unlockers();
        if unlockers.iter().any(|unlocker| unlocker.name == name) {
            return Err(StoreError::UnlockerExists(name.into()));
        }
        if unlockers.len() >= MOST_UNLOCKERS {
            return Err(StoreError::TooManyUnlockers { most: MOST_UNLOCKERS });
        }
        let store_key = self.sealing.header.unlock(current)?;
        let added = Unlocker::new(name, secret, self.id(), &store_key)?;
        let mut header = self.sealing.header.clone();
        header.unlockers.push(added);
        self.change_header(header)
    }

    /// Removes an unlocker. Who could open the store with it, and has kept the store key, still can:
    /// [`Store::rekey`] ends that. `external_suffices` says that none need be left but such as somebody
    /// else opens, without whom the keys are gone then.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NoUnlocker`]; [`StoreError::LastUnlocker`] for the only one at all;
    /// [`StoreError::LastLocalUnlocker`] for the last that a passphrase or key file opens, unless that is said
    /// not to matter.
    pub fn remove_unlocker(
        &mut self,
        name: &str,
        external_suffices: bool,
    ) -> Result<(), StoreError> {
        let mut header = self.sealing.header.clone();
        let at = header.unlockers.iter().position(|unlocker| unlocker.name == name);
        let at = at.ok_or_else(|| StoreError::NoUnlocker(name.into()))?;
        let was_local = header.unlockers.remove(at).kind.is_local();
        if header.unlockers.is_empty() {
            return Err(StoreError::LastUnlocker(name.into()));
        }
        let is_local = |left: &Unlocker| left.kind.is_local();
        if was_local && !external_suffices && !header.unlockers.iter().any(is_local) {
            return Err(StoreError::LastLocalUnlocker(name.into()));
        }
        self.change_header(header)
    }

    /// Replaces the unlocker that `current` opens by one that `secret` opens, under the same name.
    /// Gives the name. Blocks for the key derivations.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::WrongKey`].
    pub fn change_unlocker(
        &mut self,
        current: &UnlockSecret,
        secret: &UnlockSecret,
    ) -> Result<String, StoreError> {
        let (at, store_key) = self.sealing.header.find(current)?;
        let mut header = self.sealing.header.clone();
        let unlocker = header.unlockers.get_mut(at).ok_or(StoreError::Bug("it was found there"))?;
        let name = unlocker.name.clone();
        *unlocker = Unlocker::new(&name, secret, &self.sealing.header.store, &store_key)?;
        self.change_header(header)?;
        Ok(name)
    }

    /// Seals everything anew under a new store key, which `current` alone opens: what other unlockers
    /// take is not known here, so they go. Gives their names. Old copies of what was sealed under the
    /// old key may stay in free parts of the file until [`Store::rewrite`].
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::WrongKey`].
    pub fn rekey(&mut self, current: &UnlockSecret) -> Result<Vec<String>, StoreError> {
        let (at, _) = self.sealing.header.find(current)?;
        let mut header = self.sealing.header.clone();
        let store_key = random_key()?;
        let gone = self.unlockers().iter().map(|unlocker| unlocker.name.clone());
        let mut gone: Vec<_> = gone.collect();
        let name = gone.remove(at);
        header.unlockers = vec![Unlocker::new(&name, current, &header.store, &store_key)?];
        let sealing = Sealing::new(header, &store_key)?;
        let (id, old) = (*self.id(), self.keys());
        let replaced = self.transact_under(&sealing.bytes, &sealing.keys, |transaction| {
            let tables = Table::ALL.map(|table| transaction.entries(table).map(|all| (table, all)));
            let tables: Vec<_> =
                tables.into_iter().collect::<Result<_, _>>().map_err(Abort::Database)?;
            let digest = old.open(|keys| {
                let mut digest = Digest::default();
                for (table, entries) in &tables {
                    for (name, bytes) in entries {
                        digest.add(keys.digest, table.as_str(), name, bytes);
                    }
                }
                Ok(digest)
            });
            let digest = digest.map_err(Abort::Refused)?;
            transaction.restart_digest(&digest)?;
            for (table, entries) in tables {
                for entry in entries {
                    let (name, before) = &entry;
                    let after = both_open(old, &sealing.keys, |from, to| {
                        resealed(table, name, before, (&id, from), (&id, to))
                    });
                    transaction.exchange(table, &entry, &after.map_err(Abort::Refused)?)?;
                }
            }
            Ok(())
        });
        replaced.map_err(|failed| failed.or("entries stay as they are in a transaction"))?;
        self.sealing = sealing;
        Ok(gone)
    }

    fn change_header(&mut self, header: Header) -> Result<(), StoreError> {
        let bytes = header.to_bytes()?;
        self.transact_under(&bytes, self.keys(), |_| Ok(()))
            .map_err(|failed| failed.or("nothing is changed but the header"))?;
        self.sealing.header = header;
        self.sealing.bytes = bytes;
        Ok(())
    }
}

/// Lends the keys of two stores, or of one before and after, as [`StoreKeys::open`] does.
pub(super) fn both_open<T>(
    from: &StoreKeys,
    to: &StoreKeys,
    work: impl FnOnce(&OpenKeys<'_>, &OpenKeys<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    from.open(|from| to.open(|to| work(from, to)))
}

/// The entry `name` of a table with its secret sealed for another store, or under other keys.
pub(super) fn resealed(
    table: Table,
    name: &[u8],
    bytes: &[u8],
    from: (&[u8; 16], &OpenKeys<'_>),
    to: (&[u8; 16], &OpenKeys<'_>),
) -> Result<Vec<u8>, StoreError> {
    match table {
        Table::Records => {
            let record = Record::from_bytes(name, bytes)?;
            record.resealed(record.info.clone(), from, to)?.to_bytes()
        }
        Table::Masters => MasterRecord::from_bytes(name, bytes)?.resealed(from, to)?.to_bytes(),
    }
}

impl Sealing {
    pub(super) fn new(header: Header, store_key: &StoreKey) -> Result<Self, StoreError> {
        let keys = StoreKeys::derive(store_key, &header.store)?;
        let bytes = header.to_bytes()?;
        Ok(Self { header, bytes, keys })
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
        header.unlockers.push(Unlocker::new(FIRST, secret, &header.store, &store_key)?);
        let sealing = Sealing::new(header, &store_key)?;
        let hidden =
            sealing.keys.open(|keys| Header::seal(&sealing.bytes, keys, &Digest::default()))?;
        Ok(Self { header: sealing.bytes, hidden })
    }

    /// Writes it in one durable transaction.
    pub(crate) fn write(&self, database: &redb::Database) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(HEADER, self.header.as_slice())?;
            meta.insert(HIDDEN, self.hidden.as_slice())?;
            for table in Table::ALL {
                transaction.open_table(table.definition())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
