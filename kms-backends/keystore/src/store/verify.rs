//! The proof that every secret in the store is there and is the one of its public key.

use std::convert::Infallible;

use kms_keys::KeyId;
use redb::ReadableTableMetadata;

use super::{Store, Table};
use crate::error::StoreError;
use crate::format::master::MasterRecord;
use crate::format::record::{Record, StoredState};

/// What was proved of a store.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Verified {
    /// How many keys there are, destroyed ones not counted.
    pub keys: usize,
    /// How many versions of keys were opened and proved.
    pub versions: usize,
    /// How many destroyed versions there are.
    pub destroyed: usize,
    /// How many masters were opened.
    pub masters: usize,
    /// What is wrong.
    pub problems: Vec<StoreError>,
}

impl Store {
    /// How many versions of keys there are, for who shows how far a long work has come.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count(&self) -> Result<u64, StoreError> {
        self.read(|contents| Ok(contents.table(Table::Records)?.len()?))
    }

    /// Opens every secret, derives its public key again, and signs and verifies with it. `seen` is
    /// told after every record.
    ///
    /// # Errors
    /// [`StoreError`], if the store can't be read; what is wrong with single records is among the
    /// answer's [`Verified::problems`].
    pub fn verify(&self, mut seen: impl FnMut()) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        let mut last: Option<KeyId> = None;
        self.read(|contents| {
            let Ok(()) = contents.each(Table::Records, |name, bytes| {
                match Record::from_bytes(name, bytes).and_then(|record| self.prove(record)) {
                    Ok((id, true)) => {
                        verified.versions += 1;
                        if last.as_ref() != Some(&id) {
                            verified.keys += 1;
                            last = Some(id);
                        }
                    }
                    Ok((_, false)) => verified.destroyed += 1,
                    Err(problem) => verified.problems.push(problem),
                }
                seen();
                Ok::<_, Infallible>(())
            })?;
            let Ok(()) = contents.each(Table::Masters, |name, bytes| {
                let opened = MasterRecord::from_bytes(name, bytes)
                    .and_then(|master| self.unseal_master(&master));
                match opened {
                    Ok(_) => verified.masters += 1,
                    Err(problem) => verified.problems.push(problem),
                }
                Ok::<_, Infallible>(())
            })?;
            Ok(())
        })?;
        Ok(verified)
    }

    /// Proves the versions of one key; gives how many.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NotFound`], and whatever is wrong with a version.
    pub fn verify_key(&self, id: &KeyId) -> Result<usize, StoreError> {
        self.newest(id)?;
        let versions = self.records(id)?;
        let len = versions.len();
        versions.into_iter().try_for_each(|record| self.prove(record).map(drop))?;
        Ok(len)
    }

    /// Whether the record has a secret; it is the one of the public key then.
    fn prove(&self, record: Record) -> Result<(KeyId, bool), StoreError> {
        let id = record.info.id.clone();
        if let StoredState::Destroyed { .. } = record.info.state {
            self.keys().open(|keys| record.prove_empty(self.id(), keys))?;
            return Ok((id, false));
        }
        let key = self.unseal(&record)?;
        let scheme = key.key_type().default_scheme();
        let message = b"kms-keystore: proof of a stored key";
        let proved = key
            .sign(scheme, message)
            .is_ok_and(|signature| key.public_key().verify(scheme, message, &signature).is_ok());
        if proved {
            Ok((id, true))
        } else {
            Err(StoreError::Record { id: id.to_string(), version: record.info.version })
        }
    }
}
