//! The store as a file: who reads it, links to it, and what lies around it.

use std::fs;

use kms_backend_keystore::{Store, StoreError, UnlockSecret};
use kms_keys::KeyType;
use kms_secrets::SecretBytes;

use crate::support::Folder;
use crate::{filled, id, key_file, new, passphrase, proved, public_keys};

#[test]
fn a_store_for_reading_changes_nothing() {
    let folder = Folder::new();
    drop(filled(&folder));
    let before = fs::read(folder.path("store")).unwrap();
    let mut reader = Store::open_read_only(&folder.path("store"), &key_file(7)).unwrap();
    for refused in [
        reader.generate(&[new("x", KeyType::Ed25519)]).err(),
        reader.disable(&id("key/ed25519")).err(),
        reader.add_unlocker(&key_file(7), "x", &key_file(8)).err(),
        reader.rekey(&key_file(7)).err(),
        reader.rewrite().err(),
    ] {
        assert!(matches!(refused, Some(StoreError::ReadOnly { .. })), "{refused:?}");
    }
    assert_eq!(proved(&reader), 3);
    drop(reader);
    assert!(fs::read(folder.path("store")).unwrap() == before, "reading changed the file");
}

#[test]
fn a_reader_follows_what_a_writer_does() {
    let folder = Folder::new();
    let store = filled(&folder);
    let reader = Store::open_read_only(&folder.path("store"), &key_file(7)).unwrap();
    assert_eq!(public_keys(&reader), public_keys(&store));
    store.generate(&[new("new", KeyType::Ed25519)]).unwrap();
    store.disable(&id("key/ed25519")).unwrap();
    assert_eq!(public_keys(&reader), public_keys(&store));
    assert_eq!(proved(&reader), 4);
    reader.backup(&folder.path("backup"), &key_file(1)).unwrap();
    store.generate(&[new("newer", KeyType::Ed25519)]).unwrap();
    let backup = Store::open_read_only(&folder.path("backup"), &key_file(1)).unwrap();
    assert_eq!(proved(&backup), 4);
}

/// Readers that come and go while the file is replaced again and again see what is in the store, or are
/// told to try again.
#[test]
fn readers_are_not_harmed_by_a_store_that_is_written_anew() {
    let folder = Folder::new();
    let mut store = filled(&folder);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut read = 0;
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        if let Ok(reader) =
                            Store::open_read_only(&folder.path("store"), &key_file(7))
                        {
                            match reader.verify(|| {}) {
                                Ok(verified) => {
                                    assert!(verified.problems.is_empty(), "{verified:?}");
                                    assert_eq!(verified.versions, 3);
                                    read += 1;
                                }
                                Err(refused) => assert!(
                                    matches!(refused, StoreError::SealedAnew { .. }),
                                    "{refused:?}"
                                ),
                            }
                        }
                    }
                    read
                })
            })
            .collect();
        for _ in 0..20 {
            store.rekey(&key_file(7)).unwrap();
            store.rewrite().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let read: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(read > 0, "nobody ever read it");
    });
    assert_eq!(proved(&store), 3);
}

#[test]
fn a_link_to_a_store_is_the_store() {
    let folder = Folder::new();
    drop(filled(&folder));
    fs::create_dir(folder.path("elsewhere")).unwrap();
    let link = folder.path("elsewhere/link");
    std::os::unix::fs::symlink(folder.path("store"), &link).unwrap();
    let mut store = Store::open(&link, &key_file(7)).unwrap();
    let refused = Store::open(&folder.path("store"), &key_file(7)).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { holder: Some(_), .. }), "{refused:?}");
    store.rekey(&key_file(7)).unwrap();
    store.rewrite().unwrap();
    drop(store);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(proved(&Store::open(&folder.path("store"), &key_file(7)).unwrap()), 3);

    fs::hard_link(folder.path("store"), folder.path("other-name")).unwrap();
    let mut store = Store::open(&folder.path("store"), &key_file(7)).unwrap();
    assert!(store.rewrite().is_err(), "the other name's content is overwritten");
    assert_eq!(proved(&store), 3);
}

#[test]
fn what_is_no_store_is_refused_and_nothing_is_put_beside_it() {
    let folder = Folder::new();
    fs::create_dir(folder.path("folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    for name in ["folder", "pipe"] {
        for refused in [
            Store::open(&folder.path(name), &key_file(7)).unwrap_err(),
            Store::open_read_only(&folder.path(name), &key_file(7)).unwrap_err(),
        ] {
            assert!(refused.to_string().contains("no regular file"), "{refused}");
        }
        assert!(!folder.path(&format!("{name}.lock")).exists());
    }
    for empty in [passphrase(""), UnlockSecret::KeyFile(SecretBytes::from_slice(b"short"))] {
        let refused = Store::create(&folder.path("new"), &empty).unwrap_err();
        assert!(!folder.path("new").exists(), "{refused}");
    }
    let mut store = filled(&folder);
    for name in ["", "two\nlines", &"x".repeat(65)] {
        let refused = store.add_unlocker(&key_file(7), name, &key_file(8)).unwrap_err();
        assert!(matches!(refused, StoreError::UnlockerName), "{refused:?}");
    }
}

/// A lock that is a link would have another file overwritten.
#[test]
fn a_lock_is_no_link() {
    let folder = Folder::new();
    drop(filled(&folder));
    folder.write("victim", b"precious");
    fs::remove_file(folder.path("store.lock")).unwrap();
    std::os::unix::fs::symlink("victim", folder.path("store.lock")).unwrap();
    Store::open(&folder.path("store"), &key_file(7)).unwrap_err();
    assert_eq!(fs::read(folder.path("victim")).unwrap(), b"precious");
}

#[test]
fn left_overs_of_killed_processes_are_in_nobodys_way_and_go() {
    let folder = Folder::new();
    let left = |store: &str, pid: u32| folder.path(&format!("{store}.unfinished-{pid}-0"));
    let pid = std::process::id();
    folder.write(&format!("store.unfinished-{pid}-0"), b"sealed secrets");
    let mut store = filled(&folder);
    assert!(!left("store", pid).exists());
    folder.write("other.unfinished-1-0", b"of another store");
    folder.write("store.unfinished-1-0", b"sealed secrets");
    store.rewrite().unwrap();
    drop(store);
    drop(Store::open(&folder.path("store"), &key_file(7)).unwrap());
    assert!(!left("store", 1).exists());
    assert!(left("other", 1).exists());
}
