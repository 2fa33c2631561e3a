//! Backups and what is restored from them.

use crate::support::{Folder, PASSPHRASE, WORDS};

const BACKUP: [&str; 4] = ["backup", "backup", "--new-passphrase-file", "pass"];
const RESTORE: [&str; 4] = ["restore", "backup", "--from-passphrase-file", "pass"];

/// A store with keys of all kinds and a master, and a backup of it.
fn backed_up() -> Folder {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    folder.write("words", WORDS);
    folder.kms(&["generate", "a", "--type", "ed25519", "--count", "3", "--label", "x=y"]).ok();
    folder.kms(&["generate", "b", "--type", "bls12-381", "--exportable"]).ok();
    folder.kms(&["rotate", "a/1"]).ok();
    folder.kms(&["disable", "a/2"]).ok();
    folder.kms(&["import", "--format", "mnemonic", "main", "words"]).ok();
    let run = folder.kms(&BACKUP);
    assert!(run.err.contains("whoever has this file and its passphrase"), "{}", run.err);
    run.hides_secrets();
    assert_eq!(run.ok(), "wrote 6 records to backup\n");
    folder
}

fn destroy(folder: &Folder, id: &str) {
    folder.yes(&["unprotect", id]).ok();
    folder.yes(&["delete", id, "--wait", "0s"]).ok();
    folder.yes(&["destroy", id]).ok();
}

#[test]
fn a_new_store_gets_all_that_was_backed_up() {
    let folder = backed_up();
    assert_eq!(folder.mode("backup"), 0o600);
    let (list, show) = (folder.json(&["list"]), folder.json(&["show", "a/1"]));
    let masters = folder.json(&["list", "--masters"]);
    let run = folder.yes(&[&["--store", "new"], &RESTORE[..]].concat());
    assert!(run.err.contains("a new store doesn't know which keys were destroyed"), "{}", run.err);
    assert!(run.ok().contains("4 keys and 1 master added, 0 brought up to date, 0 revived"));
    let new = |args: &[&str]| folder.json(&[&["--store", "new"], args].concat());
    assert_eq!(new(&["list"]), list);
    assert_eq!(new(&["show", "a/1"]), show);
    assert_eq!(new(&["list", "--masters"]), masters);
    assert_eq!(new(&["verify"])["versions"], 5);
}

#[test]
fn what_is_there_stays_as_it_is() {
    let folder = backed_up();
    folder.kms(&["enable", "a/2"]).ok();
    let restored = folder.json(&RESTORE);
    assert_eq!(restored["present"].as_array().unwrap().len(), 4);
    assert_eq!(restored["added"].as_array().unwrap().len(), 0);
    assert_eq!(folder.json(&["show", "a/2"])["key"]["state"], "active");
}

#[test]
fn destroyed_keys_come_back_only_when_asked_for() {
    let folder = backed_up();
    destroy(&folder, "a/0");
    let run = folder.yes(&RESTORE);
    assert!(run.err.contains("not restored without --revive: a/0"), "{}", run.err);
    assert!(run.ok().contains("1 refused"));
    assert_eq!(folder.json(&["show", "a/0"])["key"]["state"], "destroyed");
    let run = folder.yes(&[&RESTORE[..], &["--revive"]].concat());
    assert!(run.err.contains("come back: a/0"), "{}", run.err);
    run.ok();
    assert_eq!(folder.json(&["show", "a/0"])["key"]["state"], "active");
    folder.kms(&["verify", "a/0"]).ok();
}

#[test]
fn other_keys_of_the_same_names_are_a_conflict() {
    let folder = backed_up();
    folder.kms(&["--store", "other", "init"]).ok();
    folder.kms(&["--store", "other", "generate", "b", "--type", "bls12-381"]).ok();
    let restore = [&["--store", "other"], &RESTORE[..]].concat();
    folder.yes(&restore).fails(69, "has other keys than the store under b");
    let list = folder.json(&["--store", "other", "list"]);
    assert_eq!(list["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn bad_backups_restore_nothing_and_leave_no_store() {
    let folder = backed_up();
    let restore = |from: &str, pass: &str| {
        let args = ["--store", "new", "restore", from, "--from-passphrase-file", pass];
        folder.yes(&args)
    };
    folder.write("wrong", "another");
    folder.write("garbage", "garbage");
    restore("backup", "wrong").fails(69, "backup backup can't be opened: wrong passphrase");
    restore("absent", "pass").fails(69, "backup absent does not exist");
    restore("garbage", "pass").fails(69, "backup garbage can't be opened");
    assert!(!folder.path("new").exists());
    let mut bytes = std::fs::read(folder.path("backup")).unwrap();
    let middle = bytes.len() / 4;
    bytes[middle..].fill(0xff);
    folder.write("damaged", bytes);
    restore("damaged", "pass").fails(69, "backup damaged can't be opened");
    assert!(!folder.path("new").exists());
}

#[test]
fn a_backup_overwrites_nothing() {
    let folder = backed_up();
    folder.kms(&BACKUP).fails(69, "backup exists already");
    folder.kms(&["backup", "other"]).fails(64, "no terminal to ask for the passphrase");
    assert!(!folder.path("other").exists());
}
