//! Who may open the store.

use serde_json::Value;

use crate::support::{Folder, PASSPHRASE};

fn names(list: &Value) -> Vec<(&str, &str)> {
    let unlockers = list["unlockers"].as_array().unwrap().iter();
    unlockers.map(|u| (u["name"].as_str().unwrap(), u["kind"].as_str().unwrap())).collect()
}

#[test]
fn unlockers_come_and_go() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    folder.write("other", [8; 32]);
    folder.kms(&["unlocker", "add", "escrow", "--new-passphrase-file", "pass"]).ok();
    folder.kms(&["unlocker", "add", "machine", "--generate-key-file", "made"]).ok();
    folder.kms(&["unlocker", "add", "spare", "--new-key-file", "other"]).ok();
    assert_eq!(folder.mode("made"), 0o600);
    let list = folder.json(&["unlocker", "list"]);
    let expected = [
        ("first", "key-file"),
        ("escrow", "passphrase"),
        ("machine", "key-file"),
        ("spare", "key-file"),
    ];
    assert_eq!(names(&list), expected);
    assert_eq!(list["unlockers"][1]["memory_kib"], 65536);
    for opener in [["--key-file", "made"], ["--key-file", "other"], ["--passphrase-file", "pass"]] {
        folder.bare(&[&opener[..], &["list"]].concat()).ok();
    }
    let taken = ["unlocker", "add", "spare", "--generate-key-file", "in-vain"];
    folder.kms(&taken).fails(69, "called \"spare\" already");
    assert!(!folder.path("in-vain").exists());

    let removed = folder.yes(&["unlocker", "remove", "machine"]).ok();
    assert!(removed.contains("kms rekey revokes"), "{removed}");
    folder.bare(&["--key-file", "made", "list"]).fails(69, "wrong passphrase or key");
    folder.yes(&["unlocker", "remove", "machine"]).fails(69, "no unlocker called \"machine\"");
}

#[test]
fn the_last_unlocker_stays() {
    let folder = Folder::new();
    folder.yes(&["unlocker", "remove", "first"]).fails(69, "add another one first");
    folder.kms(&["list"]).ok();
}

#[test]
fn bad_openers_are_not_added() {
    let folder = Folder::new();
    folder.write("short", [7; 31]);
    folder.write("open", [7; 32]);
    folder.chmod("open", 0o644);
    let add = |file| folder.kms(&["unlocker", "add", "x", "--new-key-file", file]);
    add("short").fails(69, "31 bytes");
    add("open").fails(69, "chmod 600");
    folder.kms(&["unlocker", "add", "x"]).fails(64, "no terminal");
    folder.kms(&["unlocker", "add", "x y", "--new-key-file", "key"]).fails(64, "invalid value");
    let both = ["unlocker", "add", "x", "--new-key-file", "key", "--generate-key-file", "y"];
    folder.kms(&both).fails(64, "cannot be used with");
    let both = ["unlocker", "add", "x", "--new-key-file", "key", "--new-passphrase-env", "y"];
    folder.kms(&both).fails(64, "cannot be used with");
    assert_eq!(names(&folder.json(&["unlocker", "list"])), [("first", "key-file")]);
}

#[test]
fn a_passphrase_is_changed() {
    let folder = Folder::empty();
    folder.write("pass", PASSPHRASE);
    folder.write("new", "another passphrase");
    folder.bare(&["--passphrase-file", "pass", "init"]).ok();
    let change = ["passphrase", "change", "--new-passphrase-file", "new"];
    folder.bare(&[&["--passphrase-file", "pass"], &change[..]].concat()).ok();
    folder.bare(&["--passphrase-file", "pass", "list"]).fails(69, "wrong passphrase");
    folder.bare(&["--passphrase-file", "new", "list"]).ok();
}

#[test]
fn a_key_file_is_not_turned_into_a_passphrase() {
    let folder = Folder::new();
    folder.write("new", PASSPHRASE);
    let change = ["passphrase", "change", "--new-passphrase-file", "new"];
    folder.kms(&change).fails(64, "kms unlocker add adds a passphrase");
}

#[test]
fn a_new_store_key_leaves_one_way_in() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    folder.kms(&["unlocker", "add", "machine", "--generate-key-file", "made"]).ok();
    let public_key = folder.public_key("a");
    let rekeyed = folder.json(&["rekey"]);
    assert_eq!(rekeyed, serde_json::json!({ "stays": "first", "removed": ["machine"] }));
    folder.bare(&["--key-file", "made", "list"]).fails(69, "wrong passphrase or key");
    assert_eq!(folder.public_key("a"), public_key);
    folder.kms(&["verify"]).ok();
}
