//! What somebody with write access to the file can do to a store: nothing that goes unnoticed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't set up its store fails")]

mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kms_backend::IfMissing;
use kms_backend_keystore::{Store, UnlockSecret};
use kms_keys::KeyType;
use kms_secrets::SecretBytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use support::{Folder, text};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// A store with one key of each type, and what is in it. It is a backup of another, since that is the
/// smallest file: no page of it is free.
fn filled(folder: &Folder, name: &str) -> Vec<String> {
    let roomy = format!("{name}.roomy");
    let backend = folder.open(&roomy, true).unwrap();
    for key_type in KeyType::ALL {
        let id = format!("key/{key_type}");
        folder.register(&*backend, &id, *key_type, IfMissing::Generate).unwrap();
    }
    let content = folder.content(&*backend, None).unwrap();
    assert_eq!(content.len(), KeyType::ALL.len());
    drop(backend);
    let secret = UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]));
    let store = Store::open(&folder.path(&roomy), &secret).unwrap();
    store.backup(&folder.path(name), &secret).unwrap();
    content
}

/// Opens the changed store: the same content, or an error. Anything else fails the test. `at` says
/// which change it is, and picks the key that must still sign.
fn same_or_refused(folder: &Folder, name: &str, content: &[String], at: usize) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let backend = folder.open(name, false)?;
        folder.content(&*backend, Some(at))
    }));
    match outcome {
        Err(_) => panic!("change {at}: panicked"),
        Ok(Err(error)) => {
            assert!(!text(&error).is_empty());
            true
        }
        Ok(Ok(found)) => {
            assert_eq!(found, content, "change {at}: another content");
            false
        }
    }
}

/// Flips each byte of a store whose place in the file leaves this remainder, by two. In two halves,
/// so that two cores share the work.
fn flip_every_other_byte(remainder: usize) {
    let folder = Folder::new();
    let content = filled(&folder, "store");
    let whole = fs::read(folder.path("store")).unwrap();
    let mut refused = 0;
    for at in (remainder..whole.len()).step_by(2) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        folder.write("changed", &changed);
        refused += usize::from(same_or_refused(&folder, "changed", &content, at));
    }
    assert!(refused > 500, "only {refused} of {} changes were noticed", whole.len() / 2);
}

#[test]
fn every_even_byte_flipped_is_the_same_content_or_an_error() {
    flip_every_other_byte(0);
}

#[test]
fn every_odd_byte_flipped_is_the_same_content_or_an_error() {
    flip_every_other_byte(1);
}

/// Who only reads opens the file another way.
#[test]
fn a_reader_of_a_changed_file_sees_the_same_content_or_an_error() {
    let folder = Folder::new();
    filled(&folder, "store");
    let whole = fs::read(folder.path("store")).unwrap();
    let secret = UnlockSecret::KeyFile(SecretBytes::from_slice(&[7; 32]));
    let read = |name: &str| {
        let store = Store::open_read_only(&folder.path(name), &secret)?;
        let verified = store.verify(|| {})?;
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
        store.page(None, 99)
    };
    let content = read("store").unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(13) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        folder.write("changed", &changed);
        match read("changed") {
            Ok(found) => assert_eq!(found, content, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100, "only {refused} changes were noticed");
}

#[test]
fn every_truncation_is_an_error() {
    let folder = Folder::new();
    let content = filled(&folder, "store");
    let whole = fs::read(folder.path("store")).unwrap();
    for len in 0..whole.len() {
        folder.write("changed", &whole[..len]);
        let noticed = same_or_refused(&folder, "changed", &content, len);
        assert!(noticed, "{len} of {} bytes", whole.len());
    }
}

/// The records of a store by name, as they are in its file.
fn records(folder: &Folder, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let database = Database::open(folder.path(name)).unwrap();
    let reading = database.begin_read().unwrap();
    let table = reading.open_table(RECORDS).unwrap();
    let range = table.range::<&[u8]>(..).unwrap();
    range
        .map(|entry| entry.map(|(name, record)| (name.value().to_vec(), record.value().to_vec())))
        .collect::<Result<_, _>>()
        .unwrap()
}

fn put(folder: &Folder, name: &str, record: &[u8], bytes: Option<&[u8]>) {
    let database = Database::open(folder.path(name)).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let mut table = writing.open_table(RECORDS).unwrap();
        match bytes {
            Some(bytes) => drop(table.insert(record, bytes).unwrap()),
            None => drop(table.remove(record).unwrap()),
        }
    }
    writing.commit().unwrap();
}

fn refusal(folder: &Folder, name: &str) -> String {
    text(&folder.open(name, false).err().unwrap())
}

#[test]
fn a_record_taken_out_is_noticed() {
    let folder = Folder::new();
    filled(&folder, "store");
    let (first, _) = records(&folder, "store").remove(0);
    put(&folder, "store", &first, None);
    assert!(refusal(&folder, "store").contains("records were removed, added or replaced"));
}

#[test]
fn a_record_put_back_as_it_was_is_noticed() {
    let folder = Folder::new();
    filled(&folder, "store");
    let before = records(&folder, "store");
    let backend = folder.open("store", false).unwrap();
    let id = kms_keys::KeyId::new("key/ed25519").unwrap();
    let disabled = backend.disable(&id);
    tokio::runtime::Runtime::new().unwrap().block_on(disabled).unwrap();
    drop(backend);
    for (name, record) in before {
        if !records(&folder, "store").contains(&(name.clone(), record.clone())) {
            put(&folder, "store", &name, Some(&record));
        }
    }
    assert!(refusal(&folder, "store").contains("records were removed, added or replaced"));
}

#[test]
fn a_record_of_another_store_or_key_is_noticed() {
    let folder = Folder::new();
    filled(&folder, "store");
    filled(&folder, "other");
    let ours = records(&folder, "store");
    let (name, theirs) = records(&folder, "other").remove(0);
    assert_eq!(ours[0].0, name);
    put(&folder, "store", &name, Some(&theirs));
    assert!(refusal(&folder, "store").contains("records were removed, added or replaced"));

    put(&folder, "store", &name, Some(&ours[1].1));
    assert!(refusal(&folder, "store").contains("is damaged"));
}

#[test]
fn a_header_of_another_version_or_store_is_refused() {
    let folder = Folder::new();
    filled(&folder, "store");
    let header = |change: &dyn Fn(String) -> String| {
        let database = Database::open(folder.path("store")).unwrap();
        let writing = database.begin_write().unwrap();
        {
            let mut meta = writing.open_table(META).unwrap();
            let header = meta.get("header").unwrap().unwrap().value().to_vec();
            let header = change(String::from_utf8(header).unwrap());
            meta.insert("header", header.as_bytes()).unwrap();
        }
        writing.commit().unwrap();
    };
    header(&|text| text.replace("\"version\":1", "\"version\":2"));
    assert!(refusal(&folder, "store").contains("format is version 2, expected 1"));
    header(&|text| text.replace("\"version\":2", "\"version\":1"));
    folder.open("store", false).unwrap();

    header(&|text| text.replace("\"name\":\"first\"", "\"name\":\"third\""));
    assert!(refusal(&folder, "store").contains("doesn't open the store"));
    header(&|text| text.replace("\"name\":\"third\"", "\"name\":\"first\""));
    folder.open("store", false).unwrap();

    header(&|_| "{}".into());
    assert!(refusal(&folder, "store").contains("header is damaged"));
}
