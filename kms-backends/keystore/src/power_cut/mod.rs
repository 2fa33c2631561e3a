//! Power cuts at every write, and syncs that fail: what was acknowledged is there and signs, nothing
//! is half there.

mod disk;
mod script;

use std::collections::BTreeMap;

use kms_keys::KeyType;

use crate::error::StoreError;
use crate::file;
use crate::store::{NewKey, NewStore, Store};
use disk::Disk;
use script::{SCRIPT, Step, id, model, secret, standing};

fn open(disk: &Disk, opens: u8) -> Result<Store, StoreError> {
    Store::open_on(Box::new(disk.clone()), None, &secret(opens))
}

fn empty_store() -> Vec<u8> {
    let disk = Disk::with(Vec::new(), usize::MAX);
    let database = file::builder().create_with_backend(disk.clone()).unwrap();
    NewStore::sealed_for(&secret(7)).unwrap().write(&database).unwrap();
    drop(database);
    let platter = disk.platter();
    platter.synced.clone()
}

/// The public key of every version of every key.
fn public_keys(store: &Store) -> BTreeMap<(String, u32), String> {
    let keys = store.page(None, 99).unwrap().into_iter();
    let versions = keys.flat_map(|key| store.versions(&key.id).unwrap());
    versions.map(|key| ((key.id.to_string(), key.version), key.public_key)).collect()
}

/// Runs the script until the power is cut after so many writes. Gives the disk, how many steps were
/// acknowledged, and the public keys that were known then.
fn run(empty: &[u8], writes: usize) -> (Disk, usize, BTreeMap<(String, u32), String>) {
    let disk = Disk::with(empty.to_vec(), writes);
    let mut acknowledged = 0;
    let mut known = BTreeMap::new();
    if let Ok(mut store) = open(&disk, 7) {
        for step in SCRIPT {
            let (_, opens) = model(&SCRIPT[..acknowledged]);
            if step.run(&mut store, opens).is_err() {
                break;
            }
            acknowledged += 1;
            if disk.platter().writes_left > 0 {
                known = public_keys(&store);
            }
        }
    }
    (disk, acknowledged, known)
}

#[test]
fn what_was_acknowledged_survives_a_cut_at_every_write() {
    let empty = empty_store();
    let (whole, acknowledged, _) = run(&empty, 1_000_000);
    assert_eq!(acknowledged, SCRIPT.len());
    let writes = 1_000_000 - whole.platter().writes_left;
    assert!(writes > 150, "only {writes} writes to cut at");

    let mut undone = 0;
    for cut in 0..writes {
        let (disk, acknowledged, known) = run(&empty, cut);
        for seed in 0..4 {
            let what = format!("cut at write {cut} (luck {seed}), {acknowledged} acknowledged");
            let disk = Disk::with(disk.after_the_cut(seed), usize::MAX);
            // The step that was under way may have been done or not, but not in part.
            let next = SCRIPT.len().min(acknowledged + 1);
            let possible = [model(&SCRIPT[..acknowledged]), model(&SCRIPT[..next])];
            let [(before, opens), (after, opens_then)] = possible;
            let store = match open(&disk, opens) {
                Err(StoreError::WrongKey { .. }) if opens_then != opens => open(&disk, opens_then),
                opened => opened,
            };
            let store = store.unwrap_or_else(|error| panic!("{what}: can't be opened: {error:?}"));
            let stands = standing(&store);
            assert!([&before, &after].contains(&&stands), "{what}: {stands:?}");
            undone += usize::from(stands == before);
            let found = public_keys(&store);
            for (version, public_key) in &known {
                assert_eq!(found.get(version), Some(public_key), "{what}: {version:?}");
            }
            // It goes on from there.
            store.generate(&[NewKey::new(id("after"), KeyType::Ed25519)]).unwrap();
        }
    }
    assert!(undone > 0, "no cut ever undid anything: the disk loses nothing");
}

#[test]
fn a_disk_without_power_is_an_error_and_the_next_write_works_when_it_is_back() {
    let disk = Disk::with(empty_store(), usize::MAX);
    let mut store = open(&disk, 7).unwrap();
    let generate = Step::Generate(&[("a", KeyType::Ed25519)]);
    disk.platter().writes_left = 0;
    generate.run(&mut store, 7).unwrap_err();
    assert!(store.failure().is_some_and(|failure| failure.contains("can't be written")));
    disk.platter().writes_left = usize::MAX;
    generate.run(&mut store, 7).unwrap();
    assert_eq!(store.failure(), None);
    assert_eq!(standing(&store), model(&[generate]).0);
}

/// A sync that fails leaves open what is on the disk. Whichever it is, the store goes on with that.
#[test]
fn a_sync_that_fails_leaves_the_old_or_the_new() {
    let empty = empty_store();
    for works in [false, true] {
        for at in 0..4 {
            for step in 0..SCRIPT.len() {
                let what = format!("sync {at} of step {step} fails, and works: {works}");
                let disk = Disk::with(empty.clone(), usize::MAX);
                let mut store = open(&disk, 7).unwrap();
                for done in 0..step {
                    let (_, opens) = model(&SCRIPT[..done]);
                    SCRIPT[done].run(&mut store, opens).unwrap();
                }
                disk.platter().failing_sync = Some((at, works));
                let (before, opens) = model(&SCRIPT[..step]);
                let (after, opens_then) = model(&SCRIPT[..=step]);
                let answer = SCRIPT[step].run(&mut store, opens);
                let failed = disk.platter().failing_sync.take().is_none();
                if answer.is_ok() {
                    assert_eq!(standing(&store), after, "{what}");
                    continue;
                }
                assert!(failed, "{what}: {answer:?}");
                drop(store);
                let store = match open(&disk, opens) {
                    Err(StoreError::WrongKey { .. }) => open(&disk, opens_then),
                    opened => opened,
                };
                let stands = standing(&store.unwrap());
                assert!([&before, &after].contains(&&stands), "{what}: {stands:?}");
            }
        }
    }
}

/// The same without opening the store again: the next change finds out what the last one left.
#[test]
fn after_a_failed_sync_the_same_store_goes_on() {
    let empty = empty_store();
    for works in [false, true] {
        for at in 0..4 {
            let disk = Disk::with(empty.clone(), usize::MAX);
            let mut store = open(&disk, 7).unwrap();
            let first = Step::Generate(&[("first", KeyType::Ed25519)]);
            let second = Step::Generate(&[("second", KeyType::Ed25519)]);
            disk.platter().failing_sync = Some((at, works));
            let acknowledged = first.run(&mut store, 7).is_ok();
            disk.platter().failing_sync = None;
            second.run(&mut store, 7).unwrap();
            let stands = standing(&store);
            assert!(stands.keys.contains_key("second"));
            assert!(stands.keys.contains_key("first") || !acknowledged);
            drop(store);
            assert_eq!(standing(&open(&disk, 7).unwrap()), stands, "{works} {at}");
        }
    }
}
