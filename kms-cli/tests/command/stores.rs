//! Making and opening stores.

use crate::support::{Folder, PASSPHRASE};

#[test]
fn a_store_is_made_once() {
    let folder = Folder::empty();
    assert!(folder.kms(&["init"]).ok().contains("made store kms.keystore"));
    assert_eq!(folder.mode("kms.keystore"), 0o600);
    folder.kms(&["init"]).fails(69, "exists already");
    assert!(folder.kms(&["list"]).ok().contains("no such keys"));
}

#[test]
fn a_generated_passphrase_opens_the_store() {
    let folder = Folder::empty();
    folder.bare(&["init", "--generate-passphrase", "pass"]).ok();
    assert_eq!(folder.mode("pass"), 0o600);
    assert_eq!(folder.read("pass").trim().len(), 64);
    folder.bare(&["--passphrase-file", "pass", "list"]).ok();
    folder.kms(&["list"]).fails(69, "no unlocker of this kind");

    let other = ["--store", "other", "init", "--generate-passphrase", "pass"];
    folder.bare(&other).fails(69, "exists already");
    assert!(!folder.path("other").exists());
}

#[test]
fn a_generated_key_file_opens_the_store() {
    let folder = Folder::empty();
    folder.bare(&["init", "--generate-key-file", "generated"]).ok();
    assert_eq!(folder.mode("generated"), 0o600);
    folder.bare(&["--key-file", "generated", "verify"]).ok();
}

#[test]
fn nothing_is_generated_for_a_store_that_is_there() {
    let folder = Folder::new();
    folder.bare(&["init", "--generate-passphrase", "pass"]).fails(69, "exists already");
    assert!(!folder.path("pass").exists());
    folder.kms(&["--store", "x", "init", "--generate-passphrase", "pass"]).fails(64, "not both");
    assert!(!folder.path("pass").exists() && !folder.path("x").exists());
}

#[test]
fn passphrases_come_from_files_variables_and_programs() {
    let folder = Folder::empty();
    folder.write("pass", format!("{PASSPHRASE}\n"));
    folder.bare(&["--passphrase-file", "pass", "init"]).ok();
    folder.bare(&["--passphrase-command", "cat pass", "list"]).ok();
    let run = |name: &str, value: &str| {
        let mut command = folder.command(["--passphrase-env", "SECRET_OF_STORE", "list"]);
        crate::support::Run::of(&command.env(name, value).output().unwrap())
    };
    run("SECRET_OF_STORE", PASSPHRASE).ok();
    run("SECRET_OF_STORE", "another").fails(69, "wrong passphrase");
    run("OTHER", PASSPHRASE).fails(69, "SECRET_OF_STORE is not set");
    folder.bare(&["--passphrase-command", "false", "list"]).fails(69, "program false failed");
    // No shell is in between.
    let shell = ["--passphrase-command", "cat pass; touch made", "list"];
    folder.bare(&shell).fails(69, "program cat failed");
    assert!(!folder.path("made").exists());
}

#[test]
fn openers_exclude_each_other_wherever_they_stand() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    let twice = ["--key-file", "key", "list", "--passphrase-file", "pass"];
    folder.bare(&twice).fails(64, "exclude each other");
}

#[test]
fn a_wrong_key_opens_nothing() {
    let folder = Folder::new();
    folder.write("other", [8; 32]);
    folder.write("short", [7; 31]);
    folder.write("pass", PASSPHRASE);
    folder.bare(&["--key-file", "other", "list"]).fails(69, "wrong passphrase or key");
    folder.bare(&["--key-file", "short", "list"]).fails(69, "31 bytes");
    folder.bare(&["--passphrase-file", "pass", "list"]).fails(69, "no unlocker of this kind");
    folder.bare(&["--key-file", "absent", "list"]).fails(69, "does not exist");
}

#[test]
fn secret_files_that_others_can_read_are_refused() {
    let folder = Folder::new();
    folder.chmod("key", 0o644);
    folder.kms(&["list"]).fails(69, "chmod 600");
    folder.chmod("key", 0o600);
    folder.chmod("kms.keystore", 0o640);
    folder.kms(&["list"]).fails(69, "open to others");
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let folder = Folder::empty();
    for args in [&["list"][..], &["generate", "a", "--type", "ed25519"], &["verify"]] {
        folder.kms(args).fails(69, "kms init makes a new one");
    }
    assert!(!folder.path("kms.keystore").exists());
}

#[test]
fn garbage_is_no_store() {
    let folder = Folder::empty();
    for garbage in [&b""[..], b"garbage", &[0xff; 8192]] {
        folder.write("kms.keystore", garbage);
        for args in [&["list"][..], &["generate", "a", "--type", "ed25519"]] {
            let run = folder.kms(args);
            assert_eq!(run.code, 69, "{}", run.err);
            assert!(run.err.starts_with("kms: "), "{}", run.err);
        }
    }
}

#[test]
fn the_store_can_be_named_by_a_variable() {
    let folder = Folder::empty();
    folder.kms(&["--store", "elsewhere", "init"]).ok();
    let mut command = folder.command(["--key-file", "key", "list"]);
    assert!(command.env("KMS_STORE", "elsewhere").output().unwrap().status.success());
    folder.kms(&["list"]).fails(69, "does not exist");
}

/// What was generated for a store that could not be made is in nobody's way.
#[test]
fn what_is_generated_in_vain_goes_again() {
    let folder = Folder::new();
    let store = ["--store", "no/such/folder/store", "init", "--generate-passphrase", "new.pass"];
    folder.bare(&store).fails(69, "can't be created");
    assert!(!folder.path("new.pass").exists());
}
