//! `--check`: says what would be loaded, and touches nothing.

use std::fs;

use rustix::fs::{CWD, Mode};

use crate::support::{Folder, KEYS, good_with, lines_of, node, succeeds};

#[test]
fn works_without_any_secret() {
    let folder = Folder::without_secrets();
    let output = succeeds(folder.command().arg("--check"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("the settings are right; 7 keys would be loaded:\n"), "{text}");
    for key in &KEYS {
        let path = folder.path(key.file);
        let expected = [key.id, key.key_type, "local", "from", "file", path.to_str().unwrap()];
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>() == expected;
        assert!(text.lines().any(line), "{} is not in: {text}", key.id);
    }
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), 1, "the settings alone");
}

#[test]
fn json() {
    let folder = Folder::without_secrets();
    folder.settings(&good_with(&[
        ("{ file: peer.key }", "{ env: PEER }, callers: [Identity]"),
        ("{ file: proposer.key }", "{ file: /run/proposer.key }, schemes: [bip340, ecdsa-sha256]"),
    ]));
    let lines = lines_of(&succeeds(folder.command().args(["--check", "--json"])));
    assert_eq!((lines.len(), &lines[0]["event"]), (1, &"checked".into()));
    let keys = lines[0]["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 7);
    assert_eq!(keys[1]["id"], "node/peer");
    assert_eq!(keys[1]["source"], "environment variable PEER");
    assert_eq!(keys[1]["callers"], serde_json::json!(["Identity"]));
    assert_eq!(keys[2]["source"], "file /run/proposer.key");
    assert_eq!(keys[2]["schemes"], serde_json::json!(["ecdsa-sha256", "bip340"]));
    assert!(keys[2]["callers"].is_null());
}

/// A writer that waits for a reader of the pipe would be let in if it was opened.
#[test]
fn opens_no_source() {
    let folder = Folder::without_secrets();
    rustix::fs::mkfifoat(CWD, folder.path("peer.key"), Mode::RUSR | Mode::WUSR).unwrap();
    let pipe = folder.path("peer.key");
    let writer = std::thread::spawn(move || fs::OpenOptions::new().write(true).open(pipe));
    for _ in 0..3 {
        succeeds(folder.command().arg("--check"));
        assert!(!writer.is_finished(), "the pipe was opened");
    }
    let reader = fs::File::open(folder.path("peer.key")).unwrap();
    writer.join().unwrap().unwrap();
    drop(reader);
}

/// The settings that the program ships with, in a folder with nothing in it.
#[test]
fn makes_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    succeeds(node(folder.path()).arg("--check"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn refuses_what_a_start_would_refuse() {
    let folder = Folder::without_secrets();
    folder.settings_with("slot: 10ms", "slot: 0s");
    let output = folder.command().arg("--check").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("proposer.slot"));
}
