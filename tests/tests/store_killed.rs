//! Processes that work on a store are killed from outside, again and again: what they had
//! acknowledged is there and signs, and the next one goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kms_backend_keystore::{Store, StoreError, StoredState};
use kms_tests::{id, key_file, open_store, proved};
use tempfile::TempDir;

const KILLS: u64 = 300;

fn worker(store: &Path, argument: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_store-worker"))
        .arg(store)
        .arg(argument)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn new_store(folder: &TempDir) -> std::path::PathBuf {
    let path = folder.path().join("store");
    drop(Store::create(&path, &key_file(7)).unwrap());
    path
}

/// What was acknowledged of a key: its version, state and public key.
type Acknowledged = BTreeMap<String, (u32, String, String)>;

/// What a killed worker had said. Gives the key that it was working on, if it was.
fn note(said: &str, acknowledged: &mut Acknowledged) -> Option<String> {
    let mut under_way = None;
    for line in said.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["begin", key] => under_way = Some(key.to_owned()),
            ["done", key, version, state, public_key] => {
                let version = version.parse().unwrap();
                let done = (version, state.to_owned(), public_key.to_owned());
                acknowledged.insert(key.to_owned(), done);
                under_way = None;
            }
            ["ready"] => {}
            _ => panic!("{line:?}"),
        }
    }
    under_way
}

/// Compares the store with what was acknowledged; a change that was under way may have been made.
fn check(store: &Store, acknowledged: &mut Acknowledged, under_way: Option<&str>) {
    let mut after = None;
    let mut found = BTreeMap::new();
    loop {
        let page = store.page(after.as_ref(), 500).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for key in page {
            let state = match key.state {
                StoredState::Active => "active",
                StoredState::Disabled => "disabled",
                StoredState::PendingDeletion { .. } => "pending",
                _ => "destroyed",
            };
            found.insert(key.id.to_string(), (key.version, state.to_owned(), key.public_key));
        }
    }
    for (key, was) in acknowledged.iter() {
        let is = found.get(key).unwrap_or_else(|| panic!("{key} is gone, {was:?}"));
        if Some(key.as_str()) == under_way {
            let versions = store.versions(&id(key)).unwrap();
            let old = versions.iter().find(|version| version.version == was.0);
            assert_eq!(old.unwrap().public_key, was.2, "{key}");
        } else {
            assert_eq!(is, was, "{key}");
        }
    }
    for key in found.keys() {
        let known = acknowledged.contains_key(key) || Some(key.as_str()) == under_way;
        assert!(known, "nobody made {key}");
    }
    *acknowledged = found;
}

#[test]
fn what_was_acknowledged_survives_hundreds_of_kills() {
    let folder = TempDir::new().unwrap();
    let path = new_store(&folder);
    let mut acknowledged = Acknowledged::new();
    let mut changes = 0;
    for run in 0..KILLS {
        let mut worker = worker(&path, &run.to_string());
        let mut stdout = worker.stdout.take().unwrap();
        let mut said = vec![0; 6];
        stdout.read_exact(&mut said).unwrap();
        assert_eq!(said, b"ready\n");
        // Other moments each time; the steps of the worker take between one and ten milliseconds.
        std::thread::sleep(Duration::from_micros(run * 7919 % 23_000));
        worker.kill().unwrap();
        worker.wait().unwrap();
        stdout.read_to_end(&mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        changes += said.matches("done ").count();
        let under_way = note(&said, &mut acknowledged);
        let (store, _) = open_store(&path).unwrap();
        check(&store, &mut acknowledged, under_way.as_deref());
        if run % 25 == 0 || run == KILLS - 1 {
            proved(&store);
        }
    }
    assert!(changes > 100, "only {changes} changes were made between kills");
}

#[test]
fn a_second_opener_is_told_who_was_first_and_a_killed_holder_holds_nothing() {
    let folder = TempDir::new().unwrap();
    let path = new_store(&folder);
    let mut holder = worker(&path, "hold");
    let mut said = [0; 6];
    holder.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();

    let refused = Store::open(&path, &key_file(7)).unwrap_err();
    let expected = Some(holder.id());
    assert!(
        matches!(refused, StoreError::InUse { holder, .. } if holder == expected),
        "{refused:?}"
    );
    assert!(refused.to_string().contains(&format!("in use by process {}", holder.id())));
    // Reading goes on meanwhile.
    drop(Store::open_read_only(&path, &key_file(7)).unwrap());

    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(Store::open(&path, &key_file(7)).unwrap());
}

#[test]
fn of_many_that_open_at_once_one_gets_the_store() {
    let folder = TempDir::new().unwrap();
    let path = new_store(&folder);
    let openers: Vec<_> = (0..8)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_store-worker"))
                .arg(&path)
                .arg("hold")
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let started = Instant::now();
    let mut running = openers;
    while running.len() > 1 {
        assert!(started.elapsed() < Duration::from_secs(60), "{} hold the store", running.len());
        running.retain_mut(|opener| opener.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut holder = running.pop().expect("somebody has it");
    let mut said = [0; 6];
    holder.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"ready\n");
    holder.kill().unwrap();
    holder.wait().unwrap();
}
