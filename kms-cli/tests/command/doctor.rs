//! What the doctor finds.

use serde_json::Value;

use crate::support::{Folder, PASSPHRASE};

/// The level that a check comes to.
fn level<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap().iter();
    let found = checks.filter(|found| found["check"] == check).map(|found| &found["level"]);
    found.map(|level| level.as_str().unwrap()).next_back().unwrap_or("none")
}

fn report(folder: &Folder, code: i32) -> Value {
    let run = folder.kms(&["--json", "doctor"]);
    assert_eq!(run.code, code, "{} {}", run.out, run.err);
    run.hides_secrets();
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn a_good_store_has_no_problems() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    folder.kms(&["unlocker", "add", "x", "--new-passphrase-file", "pass"]).ok();
    let report = report(&folder, 0);
    assert_eq!(report["problems"], 0);
    for check in ["file", "owner", "mode", "folder", "lock", "opening", "unlocker", "secrets"] {
        assert_eq!(level(&report, check), "ok", "{check}");
    }
    let text = folder.kms(&["doctor"]).ok();
    assert!(text.contains("unlocker: x: passphrase (Argon2id, 64 MiB, 3 passes)"), "{text}");
    assert!(text.contains("1 version of 1 key proved"), "{text}");
}

#[test]
fn a_store_that_is_not_there_is_a_problem() {
    let folder = Folder::empty();
    assert_eq!(level(&report(&folder, 69), "file"), "problem");
    folder.kms(&["doctor"]).fails(69, "1 problem found");
}

#[test]
fn modes_that_let_others_in_are_problems() {
    let folder = Folder::new();
    folder.chmod("kms.keystore", 0o644);
    folder.chmod("", 0o777);
    let report = report(&folder, 69);
    for check in ["mode", "folder", "opening"] {
        assert_eq!(level(&report, check), "problem", "{check}");
    }
}

#[test]
fn what_does_not_open_is_a_problem() {
    let folder = Folder::new();
    folder.write("other", [8; 32]);
    folder.bare(&["--key-file", "other", "doctor"]).fails(69, "1 problem found");
    folder.bare(&["doctor"]).fails(69, "1 problem found");
    folder.write("kms.keystore", "garbage");
    assert_eq!(level(&report(&folder, 69), "opening"), "problem");
}

#[test]
fn leftovers_and_deletions_are_warnings() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    folder.yes(&["unprotect", "a"]).ok();
    folder.yes(&["delete", "a"]).ok();
    folder.write("kms.keystore.unfinished-1", "");
    let report = report(&folder, 0);
    assert_eq!(level(&report, "unfinished files"), "warning");
    assert_eq!(level(&report, "deletions"), "warning");
}
