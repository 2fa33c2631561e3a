//! A passphrase is made for the store of the settings that the program ships with, and for no others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::support::{Folder, errors_after_start, lines_of, node};

const DATA: &str = "node-example-data";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = node(folder).arg("--slots=1").args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn passphrase(folder: &Path) -> String {
    fs::read_to_string(folder.join(DATA).join("passphrase")).unwrap()
}

fn refusal(folder: &Path) -> String {
    let output = node(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(output.stdout.is_empty(), "{output:?}");
    errors
}

#[test]
fn first_run_makes_a_store_and_says_so() {
    let folder = TempDir::new().unwrap();
    let output = run(folder.path(), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let said = "made a passphrase for a new store, for this run and the next ones: \
                node-example-data/passphrase\n";
    assert!(text.starts_with(said), "{text}");
    let mode = |file: &str| {
        fs::metadata(folder.path().join(DATA).join(file)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!([mode("passphrase"), mode("node.keystore"), mode("")], [0o600, 0o600, 0o700]);
    let secret = passphrase(folder.path());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(![text, errors].iter().any(|text| text.contains(&secret[8..40])));
}

#[test]
fn second_run_makes_nothing_and_has_the_same_keys() {
    let folder = TempDir::new().unwrap();
    let first = run(folder.path(), &["--json"]);
    let before = passphrase(folder.path());
    let said = errors_after_start(&first.stderr);
    let expected = r#"{"event":"demo_passphrases","files":["node-example-data/passphrase"]}"#;
    assert_eq!(said.trim_end(), expected);

    let second = run(folder.path(), &["--json"]);
    assert_eq!(errors_after_start(&second.stderr), "");
    assert_eq!(passphrase(folder.path()), before);
    assert_eq!(lines_of(&first)[0], lines_of(&second)[0]);
    assert_eq!(lines_of(&first)[0]["keys"].as_array().unwrap().len(), 7);
}

/// A store is there, so its passphrase was somewhere: another one would open nothing.
#[test]
fn no_passphrase_for_a_store_that_is_there() {
    let folder = TempDir::new().unwrap();
    run(folder.path(), &[]);
    let file = folder.path().join(DATA).join("passphrase");
    fs::remove_file(&file).unwrap();
    let errors = refusal(folder.path());
    assert!(errors.contains("node-example-data/passphrase does not exist"), "{errors}");
    assert!(!file.exists());
}

#[test]
fn what_is_there_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join(DATA);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("passphrase"), "open to others").unwrap();
    fs::set_permissions(data.join("passphrase"), fs::Permissions::from_mode(0o644)).unwrap();
    let errors = refusal(folder.path());
    assert!(errors.contains("is open to others (mode 0644)"), "{errors}");
    assert_eq!(passphrase(folder.path()), "open to others");
    assert!(!data.join("node.keystore").exists(), "a store was made all the same");
}

#[test]
fn where_nothing_can_be_written() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(DATA), "a file where the folder should be").unwrap();
    let errors = refusal(folder.path());
    assert!(errors.contains("the demo passphrase node-example-data/passphrase"), "{errors}");
}

/// A node that makes up what is missing gives itself a new identity where a mount went wrong.
#[test]
fn nothing_for_settings_that_were_given() {
    let folder = Folder::without_secrets();
    assert_eq!(folder.refused().code, 69);
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), 1, "the settings alone");

    // Not even for a copy of those that the program ships with.
    folder.settings(include_str!("../../settings.yaml"));
    let output = folder.command().output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(!folder.path(DATA).exists());
}
