//! Power cuts at every write: what was acknowledged is there and signs, nothing is half there.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kms_backend::{Backend, IfMissing, KeyInfo, KeySpec, KeyState, PageRequest, Signer};
use kms_keys::{KeyId, KeyType};
use kms_secrets::SecretBytes;
use redb::{Database, StorageBackend};
use tokio::runtime::Runtime;

use crate::backend::Keystore;
use crate::error::StoreError;
use crate::file::{self, Medium};
use crate::format::unlocker::UnlockSecret;
use crate::store::{NewStore, Store};

/// A disk that keeps what was synced. Of what was written since, a power cut leaves some writes and
/// loses others, in any order, and tears some in two.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Clone, Debug, Default)]
struct Platter {
    synced: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Write>,
    /// How many writes there will be before the power is cut.
    writes_left: usize,
}

#[derive(Clone, Debug)]
enum Write {
    Length(usize),
    Bytes { at: usize, bytes: Vec<u8> },
}

impl Disk {
    fn with(content: Vec<u8>, writes: usize) -> Self {
        let (synced, current) = (content.clone(), content);
        let platter = Platter { synced, current, unsynced: Vec::new(), writes_left: writes };
        Self(Arc::new(Mutex::new(platter)))
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
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
    fn after_the_cut(&self, seed: u64) -> Vec<u8> {
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

impl StorageBackend for Disk {
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
        platter.synced = platter.current.clone();
        platter.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Write::Bytes { at: place(offset), bytes: data.to_vec() })
    }
}

impl Medium for Disk {
    fn open(&self) -> Result<Database, StoreError> {
        let opened =
            file::builder().set_check_integrity_on_open(true).create_with_backend(self.clone());
        opened.map_err(|error| self.failed("opened", error.into()))
    }

    fn failed(&self, doing: &'static str, error: redb::Error) -> StoreError {
        StoreError::Io { path: "disk".into(), doing, cause: io::Error::other(error) }
    }
}

/// What is done to the store, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Generate(&'static str, KeyType),
    Disable(&'static str),
    Enable(&'static str),
    ScheduleDelete(&'static str),
    CancelDelete(&'static str),
    Rotate(&'static str),
}

const SCRIPT: [Step; 11] = [
    Step::Generate("a", KeyType::Ed25519),
    Step::Generate("b", KeyType::Secp256k1),
    Step::Disable("a"),
    Step::Generate("c", KeyType::Bls12381),
    Step::Enable("a"),
    Step::ScheduleDelete("b"),
    Step::Generate("d", KeyType::Ed25519),
    Step::CancelDelete("b"),
    Step::Disable("d"),
    Step::Rotate("a"),
    Step::Rotate("d"),
];

fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

fn secret() -> UnlockSecret {
    UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]))
}

struct Test {
    runtime: Runtime,
}

impl Test {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        Self { runtime: runtime.unwrap() }
    }

    fn open(&self, disk: &Disk) -> Result<Keystore, StoreError> {
        let store = Store::open_on(Box::new(disk.clone()), None, &secret())?;
        Ok(Keystore::new("disk".into(), store))
    }

    fn step(&self, keystore: &Keystore, step: Step) -> Result<(), kms_backend::BackendError> {
        let day = Duration::from_secs(24 * 3600);
        self.runtime.block_on(async {
            match step {
                Step::Generate(name, key_type) => {
                    let mut spec = KeySpec::new(id(name), key_type);
                    spec.if_missing = IfMissing::Generate;
                    keystore.register(&spec).await.map(drop)
                }
                Step::Disable(name) => keystore.disable(&id(name)).await.map(drop),
                Step::Enable(name) => keystore.enable(&id(name)).await.map(drop),
                Step::ScheduleDelete(name) => {
                    keystore.schedule_delete(&id(name), day).await.map(drop)
                }
                Step::Rotate(name) => keystore.rotate(&id(name)).await.map(drop),
                Step::CancelDelete(name) => keystore.cancel_delete(&id(name)).await.map(drop),
            }
        })
    }

    /// Every key, after it has signed and the signature has been verified.
    fn content(&self, keystore: &Keystore) -> Vec<KeyInfo> {
        self.runtime.block_on(async {
            let page = keystore.list(&PageRequest::first(99)).await.unwrap();
            for info in &page.keys {
                let spec = KeySpec::new(info.id.clone(), info.key_type);
                let key = keystore.register(&spec).await.unwrap();
                let Signer::Local(signer) = &key.signer else { panic!("not local") };
                let scheme = info.key_type.default_scheme();
                let signature = signer.sign(scheme, b"m").unwrap();
                info.public_key.verify(scheme, b"m", &signature).unwrap();
            }
            page.keys
        })
    }
}

/// A key as the model has it: its id, state and version.
type Standing = (String, &'static str, u32);

/// What stands in a store after some steps.
fn model(steps: &[Step]) -> Vec<Standing> {
    let mut keys = std::collections::BTreeMap::new();
    for step in steps {
        let (name, state) = match *step {
            Step::Generate(name, _) | Step::Enable(name) => (name, Some("active")),
            Step::Disable(name) | Step::CancelDelete(name) => (name, Some("disabled")),
            Step::ScheduleDelete(name) => (name, Some("pending")),
            Step::Rotate(name) => (name, None),
        };
        let (now, version) = keys.entry(name).or_insert(("active", 1));
        match state {
            Some(state) => *now = state,
            None => *version += 1,
        }
    }
    keys.into_iter().map(|(name, (state, version))| (name.to_owned(), state, version)).collect()
}

fn seen(content: &[KeyInfo]) -> Vec<Standing> {
    let state = |info: &KeyInfo| match info.state {
        KeyState::Active => "active",
        KeyState::PendingDeletion { .. } => "pending",
        _ => "disabled",
    };
    content.iter().map(|info| (info.id.to_string(), state(info), info.version)).collect()
}

/// Runs the script until the power is cut after so many writes. Gives the disk, how many steps were
/// acknowledged, and what was in the store then.
fn run(test: &Test, empty: &[u8], writes: usize) -> (Disk, usize, Vec<KeyInfo>) {
    let disk = Disk::with(empty.to_vec(), writes);
    let mut acknowledged = 0;
    let mut content = Vec::new();
    if let Ok(keystore) = test.open(&disk) {
        for step in SCRIPT {
            if test.step(&keystore, step).is_err() {
                break;
            }
            acknowledged += 1;
            let listed = test.runtime.block_on(keystore.list(&PageRequest::first(99)));
            content = listed.map_or(content, |page| page.keys);
        }
    }
    (disk, acknowledged, content)
}

fn empty_store() -> Vec<u8> {
    let disk = Disk::with(Vec::new(), usize::MAX);
    let database = file::builder().create_with_backend(disk.clone()).unwrap();
    NewStore::sealed_for(&secret()).unwrap().write(&database).unwrap();
    drop(database);
    let platter = disk.platter();
    platter.synced.clone()
}

#[test]
fn what_was_acknowledged_survives_a_cut_at_every_write() {
    let test = Test::new();
    let empty = empty_store();
    let (whole, acknowledged, content) = run(&test, &empty, 1_000_000);
    assert_eq!(acknowledged, SCRIPT.len());
    assert_eq!(seen(&content), model(&SCRIPT));
    let writes = 1_000_000 - whole.platter().writes_left;
    assert!(writes > 50, "only {writes} writes to cut at");

    let mut undone = 0;
    for cut in 0..writes {
        let (disk, acknowledged, before) = run(&test, &empty, cut);
        for seed in 0..4 {
            let content = disk.after_the_cut(seed);
            let disk = Disk::with(content, usize::MAX);
            let keystore = test.open(&disk).unwrap_or_else(|error| {
                panic!("cut at write {cut} (luck {seed}): can't be opened: {error:?}")
            });
            let after = test.content(&keystore);
            let what = format!("cut at write {cut} (luck {seed}), {acknowledged} acknowledged");
            // The step that was under way may be there or not, but not in part.
            let next = SCRIPT.len().min(acknowledged + 1);
            let possible = [model(&SCRIPT[..acknowledged]), model(&SCRIPT[..next])];
            assert!(possible.contains(&seen(&after)), "{what}: {after:?}");
            undone += usize::from(seen(&after) == possible[0]);
            for key in &before {
                let same = |info: &KeyInfo| {
                    let rotated = info.version > key.version;
                    info.id == key.id && (rotated || info.public_key == key.public_key)
                };
                assert!(after.iter().any(same), "{what}: {} is another key", key.id);
            }
            // It goes on from there.
            test.step(&keystore, Step::Generate("after", KeyType::Ed25519)).unwrap();
        }
    }
    assert!(undone > 0, "no cut ever undid anything: the disk loses nothing");
}

#[test]
fn a_disk_without_power_is_an_error_and_the_next_write_works_when_it_is_back() {
    let test = Test::new();
    let disk = Disk::with(empty_store(), usize::MAX);
    let keystore = test.open(&disk).unwrap();
    test.step(&keystore, Step::Generate("a", KeyType::Ed25519)).unwrap();
    disk.platter().writes_left = 0;
    test.step(&keystore, Step::Generate("b", KeyType::Ed25519)).unwrap_err();
    disk.platter().writes_left = usize::MAX;
    test.step(&keystore, Step::Generate("b", KeyType::Ed25519)).unwrap();
    assert_eq!(test.content(&keystore).len(), 2);
}
