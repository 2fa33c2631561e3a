//! A disk whose power can be cut.

use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, ConcurrencyMode, StorageBackend};

use crate::error::StoreError;
use crate::file::{self, Medium, Opened};

/// A disk that keeps what was synced. Of what was written since, a power cut leaves some writes and
/// loses others, in any order, and tears some in two.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

#[derive(Clone, Debug, Default)]
pub(super) struct Platter {
    pub(super) synced: Vec<u8>,
    pub(super) current: Vec<u8>,
    unsynced: Vec<Write>,
    /// How many writes there will be before the power is cut.
    pub(super) writes_left: usize,
    /// How many syncs there will be before one fails, and whether it does its work all the same.
    pub(super) failing_sync: Option<(usize, bool)>,
}

#[derive(Clone, Debug)]
enum Write {
    Length(usize),
    Bytes { at: usize, bytes: Vec<u8> },
}

impl Disk {
    pub(super) fn with(content: Vec<u8>, writes: usize) -> Self {
        let (synced, current) = (content.clone(), content);
        let platter = Platter { synced, current, writes_left: writes, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)))
    }

    pub(super) fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.platter();
        if platter.writes_left == 0 { Err(io::Error::other("no power")) } else { Ok(platter) }
    }

    fn change(&self, write: Write) -> io::Result<()> {
        let mut platter = self.powered()?;
        platter.writes_left -= 1;
        apply(&mut platter.current, &write);
        platter.unsynced.push(write);
        Ok(())
    }

    /// What is on the disk when the power is back; another `seed` has other luck.
    pub(super) fn after_the_cut(&self, seed: u64) -> Vec<u8> {
        let mut luck = Luck(seed);
        let platter = self.platter();
        let mut content = platter.synced.clone();
        let mut unsynced = platter.unsynced.clone();
        for index in (1..unsynced.len()).rev() {
            unsynced.swap(index, luck.below(index + 1));
        }
        for mut write in unsynced {
            match (luck.below(3), &mut write) {
                (0, _) => continue,
                (1, Write::Bytes { bytes, .. }) => bytes.truncate(luck.below(bytes.len() + 1)),
                _ => {}
            }
            apply(&mut content, &write);
        }
        content
    }
}

fn apply(content: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(len) => content.resize(*len, 0),
        Write::Bytes { at, bytes } => {
            let end = at + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at..end].copy_from_slice(bytes);
        }
    }
}

/// A small generator of numbers that need not be good, only the same again for the same seed
/// (splitmix64).
struct Luck(u64);

impl Luck {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// Nobody else has this disk: every lock is to be had. A database commits in another way where it takes
/// locks, and so it is that way whose power is cut.
impl StorageBackend for Disk {
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.powered()?.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.powered()?;
        let from = platter.current.get(place(offset)..place(offset) + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Write::Length(place(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.powered()?;
        let (fails, works) = match &mut platter.failing_sync {
            None => (false, true),
            Some((0, works)) => (true, *works),
            Some((left, _)) => {
                *left -= 1;
                (false, true)
            }
        };
        if fails {
            platter.failing_sync = None;
        }
        if works {
            platter.synced = platter.current.clone();
            platter.unsynced.clear();
        } else if fails {
            // What was to be synced is gone from the system's cache too, as Linux does it.
            platter.current = platter.synced.clone();
            platter.unsynced.clear();
        }
        if fails { Err(io::Error::other("the disk says it could not")) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Write::Bytes { at: place(offset), bytes: data.to_vec() })
    }
}

impl Medium for Disk {
    fn open(&self) -> Result<Opened, StoreError> {
        let opened = file::builder()
            .set_concurrency_mode(ConcurrencyMode::SingleWriter)
            .set_check_integrity_on_open(true)
            .create_with_backend(self.clone());
        opened.map(Opened::Writer).map_err(|error| self.failed("opened", error.into()))
    }

    fn failed(&self, doing: &'static str, error: redb::Error) -> StoreError {
        StoreError::Io { path: "disk".into(), doing, cause: io::Error::other(error) }
    }

    fn path(&self) -> PathBuf {
        "disk".into()
    }
}
