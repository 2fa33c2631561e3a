//! From disabling to destroying.

use crate::support::Folder;

fn state(folder: &Folder) -> String {
    folder.json(&["show", "a"])["key"]["state"].as_str().unwrap().to_owned()
}

fn with_key() -> Folder {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    folder
}

#[test]
fn keys_are_disabled_and_enabled() {
    let folder = with_key();
    assert_eq!(folder.kms(&["disable", "a"]).ok(), "a is disabled\n");
    assert_eq!(state(&folder), "disabled");
    folder.kms(&["enable", "a"]).ok();
    assert_eq!(state(&folder), "active");
    folder.kms(&["disable", "b"]).fails(69, "there is no key b");
}

#[test]
fn older_versions_are_retired_and_taken_back() {
    let folder = with_key();
    folder.kms(&["disable", "a", "--version", "1"]).fails(69, "at this version");
    folder.kms(&["rotate", "a"]).ok();
    folder.kms(&["disable", "a", "--version", "1"]).ok();
    assert_eq!(folder.json(&["show", "a"])["versions"][0]["retired"], true);
    folder.kms(&["enable", "a", "--version", "1"]).ok();
    assert_eq!(folder.json(&["show", "a"])["versions"][0]["retired"], false);
    assert_eq!(state(&folder), "active");
}

#[test]
fn a_key_is_destroyed_in_steps_and_for_good() {
    let folder = with_key();
    folder.yes(&["delete", "a"]).fails(69, "protected from deletion");
    folder.yes(&["unprotect", "a"]).ok();
    folder.yes(&["destroy", "a"]).fails(69, "schedule its deletion first");
    folder.yes(&["delete", "a", "--wait", "7d"]).ok();
    assert_eq!(state(&folder), "pending-deletion");
    let key = folder.json(&["show", "a"])["key"].clone();
    assert!(key["not_before"].as_str().unwrap().ends_with('Z'));
    folder.yes(&["destroy", "a"]).fails(69, "may be destroyed in");
    folder.kms(&["enable", "a"]).fails(69, "cancel the deletion first");
    folder.kms(&["rotate", "a"]).fails(69, "cancel the deletion first");
    folder.kms(&["cancel-delete", "a"]).ok();
    assert_eq!(state(&folder), "disabled");
    folder.kms(&["cancel-delete", "a"]).fails(69, "no deletion is scheduled");

    folder.yes(&["delete", "a", "--wait", "0s"]).ok();
    folder.yes(&["destroy", "a"]).ok();
    assert_eq!(state(&folder), "destroyed");
    for args in [["enable", "a"], ["rotate", "a"], ["verify", "a"]] {
        folder.kms(&args).fails(69, "was destroyed");
    }
    let again = folder.kms(&["generate", "a", "--type", "ed25519"]);
    assert_eq!(again.code, 69, "{}", again.err);
    assert_eq!(folder.json(&["verify"])["destroyed"], 1);
}

#[test]
fn protection_is_given_back() {
    let folder = with_key();
    folder.yes(&["unprotect", "a"]).ok();
    folder.kms(&["protect", "a"]).ok();
    folder.yes(&["delete", "a"]).fails(69, "protected from deletion");
}

#[test]
fn what_cannot_be_taken_back_is_confirmed() {
    let folder = with_key();
    for args in [
        &["unprotect", "a"][..],
        &["delete", "a"],
        &["destroy", "a"],
        &["unlocker", "remove", "first"],
        &["rekey"],
        &["export", "a", "--to", "-"],
        &["restore", "backup"],
    ] {
        folder.kms(args).fails(64, "--yes goes on without asking");
    }
    assert_eq!(folder.json(&["show", "a"])["key"]["protected"], true);
}

#[test]
fn waiting_times_are_sane() {
    let folder = with_key();
    folder.yes(&["delete", "a", "--wait", "x"]).fails(64, "--wait");
    folder.yes(&["delete", "a", "--wait", "100y"]).fails(64, "at most ten years");
}
