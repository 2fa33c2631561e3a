//! A whole folder of validators' keystores.

use std::fs;

use serde_json::json;

use crate::import::{KEYSTORES, public_key_of};
use crate::support::{Folder, PASSPHRASE};

/// A folder `keys` with three keystores, a file of deposits, and one that is no JSON.
fn with_keystores() -> Folder {
    let folder = Folder::new();
    fs::create_dir(folder.path("keys")).unwrap();
    for (index, keystore) in KEYSTORES.iter().enumerate() {
        folder.write(&format!("keys/keystore-{index}.json"), keystore);
    }
    folder.write("keys/deposit_data-1.json", "[]");
    folder.write("keys/readme.txt", "not a keystore");
    folder.write("pass", PASSPHRASE);
    folder
}

fn expected_ids(prefix: &str) -> Vec<String> {
    let ids = KEYSTORES.iter().map(|keystore| format!("{prefix}/{}", public_key_of(keystore)));
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    ids
}

#[test]
fn every_keystore_comes_in_once() {
    let folder = with_keystores();
    let import = ["import", "--folder", "keys", "--from-passphrase-file", "pass"];
    let first = folder.json(&import);
    assert_eq!(
        first,
        json!({ "imported": expected_ids("validators"), "skipped": 0, "failed": [] })
    );
    assert_eq!(folder.ids(), expected_ids("validators"));
    let second = folder.json(&[&import[..], &["--prefix", "others"]].concat());
    assert_eq!(second, json!({ "imported": [], "skipped": 3, "failed": [] }));
    let run = folder.kms(&import);
    assert!(run.err.contains("slashing protection"), "{}", run.err);
    run.hides_secrets();
    assert_eq!(run.ok(), "imported 0 keys; 3 there already; 0 failed\n");
}

#[test]
fn each_keystore_may_have_its_password() {
    let folder = with_keystores();
    fs::create_dir(folder.path("secrets")).unwrap();
    for index in 0..2 {
        folder.write(&format!("secrets/keystore-{index}.txt"), format!("{PASSPHRASE}\n"));
    }
    let import = ["import", "--folder", "keys", "--prefix", "v", "--passwords-dir", "secrets"];
    let run = folder.kms(&import).fails(69, "1 of 3 keystores could not be imported");
    assert!(run.out.contains("imported 2 keys; 0 there already; 1 failed"), "{}", run.out);
    assert!(run.out.contains("keystore-2.json: "), "{}", run.out);
    folder.write("secrets/keystore-2.txt", PASSPHRASE);
    let again = folder.json(&import);
    assert_eq!((&again["skipped"], again["imported"].as_array().unwrap().len()), (&2.into(), 1));
    assert_eq!(folder.ids(), expected_ids("v"));
}

#[test]
fn bad_files_do_not_keep_the_others_out() {
    let folder = with_keystores();
    folder.write("keys/bad-json.json", "{");
    folder.write("keys/damaged.json", KEYSTORES[0].replace("\"message\": \"\"", "\"message\": 7"));
    folder.write("keys/costly.json", KEYSTORES[1].replace("\"c\": 2,", "\"c\": 4000000000,"));
    folder.chmod("keys/keystore-0.json", 0o644);
    // One that says it is another's.
    let (one, two) = (public_key_of(KEYSTORES[1]), public_key_of(KEYSTORES[2]));
    folder.write("keys/keystore-2.json", KEYSTORES[2].replace(&two, &one));
    folder.kms(&["--json", "import", "--folder", "keys"]).fails(64, "no terminal");
    let args = ["--json", "import", "--folder", "keys", "--from-passphrase-file", "pass"];
    let run = folder.kms(&args).fails(69, "5 of 6 keystores could not be imported");
    let report: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    let failed = report["failed"].as_array().unwrap().iter();
    let files: Vec<_> = failed.map(|failed| failed["file"].as_str().unwrap()).collect();
    let bad =
        ["bad-json.json", "costly.json", "damaged.json", "keystore-0.json", "keystore-2.json"];
    assert_eq!(files, bad);
    assert_eq!(folder.ids(), [format!("validators/{one}")]);
}

#[test]
fn a_key_that_was_destroyed_does_not_come_back_this_way() {
    let folder = with_keystores();
    let import = ["import", "--folder", "keys", "--from-passphrase-file", "pass"];
    folder.kms(&import).ok();
    let id = &folder.ids()[0];
    folder.yes(&["unprotect", id]).ok();
    folder.yes(&["delete", id, "--wait", "0s"]).ok();
    folder.yes(&["destroy", id]).ok();
    let run = folder.kms(&import).fails(69, "1 of 3 keystores");
    assert!(run.out.contains("was destroyed"), "{}", run.out);
}

#[test]
fn a_folder_without_keystores_is_an_error() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    fs::create_dir(folder.path("none")).unwrap();
    let import = |name| ["import", "--folder", name, "--from-passphrase-file", "pass"];
    folder.kms(&import("none")).fails(69, "folder none has no *.json files");
    folder.kms(&import("absent")).fails(69, "folder absent can't be read");
}
