//! Secrets are made for the settings that the program ships with, and for no others.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::support::{Folder, lines_of, node};

const FILES: [&str; 7] = [
    "attester-0.key",
    "attester-1.key",
    "attester-2.key",
    "attester-3.key",
    "identity.key",
    "peer.key",
    "proposer.key",
];

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = node(folder).arg("--slots=1").args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The files with secrets, by name.
fn secrets(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder.join("node-example-data")).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())
    });
    files.collect()
}

fn shows_none(output: &Output, secrets: &BTreeMap<String, String>) {
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream).to_lowercase();
        assert!(secrets.values().all(|secret| !text.contains(&secret[8..40])), "{text}");
    }
}

#[test]
fn first_run_makes_secrets_and_says_so() {
    let folder = TempDir::new().unwrap();
    let output = run(folder.path(), &[]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.starts_with("made demo secrets"), "{text}");

    let made = secrets(folder.path());
    assert!(made.keys().eq(FILES.iter()), "{:?}", made.keys());
    for (name, secret) in &made {
        assert!(text.contains(&format!("  node-example-data/{name}\n")), "{text}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&folder.path().join("node-example-data").join(name)), 0o600);
        assert_eq!(mode(&folder.path().join("node-example-data")), 0o700);
        let digits = secret.strip_suffix('\n').unwrap();
        assert!(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    }
    let different: std::collections::BTreeSet<_> = made.values().collect();
    assert_eq!(different.len(), FILES.len());
    shows_none(&output, &made);
}

#[test]
fn second_run_makes_nothing_and_has_the_same_keys() {
    let folder = TempDir::new().unwrap();
    let first = run(folder.path(), &["--json"]);
    let before = secrets(folder.path());
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(said.starts_with(r#"{"event":"demo_secrets","files":["node-example-data/"#), "{said}");

    let second = run(folder.path(), &["--json"]);
    assert_eq!(String::from_utf8_lossy(&second.stderr), "");
    assert_eq!(secrets(folder.path()), before);
    assert_eq!(lines_of(&first)[0], lines_of(&second)[0]);
    shows_none(&second, &before);
}

#[test]
fn only_what_is_missing_is_made() {
    let folder = TempDir::new().unwrap();
    run(folder.path(), &[]);
    let before = secrets(folder.path());
    let data = folder.path().join("node-example-data");
    let lost = ["peer.key", "attester-2.key", "proposer.key"];
    for file in lost {
        fs::remove_file(data.join(file)).unwrap();
    }
    let text = String::from_utf8(run(folder.path(), &[]).stdout).unwrap();
    let after = secrets(folder.path());
    for file in FILES {
        assert_eq!(after[file] != before[file], lost.contains(&file), "{file}");
        assert_eq!(text.contains(&format!("data/{file}\n")), lost.contains(&file), "{text}");
    }
}

/// What is there is never replaced, even if it is no secret.
#[test]
fn what_is_there_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("node-example-data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("peer.key"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", data.join("proposer.key")).unwrap();
    let output = node(folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(errors.contains("node/peer") && errors.contains("proposer/main"), "{errors}");
    assert_eq!(errors.lines().count(), 3, "{errors}");
    assert_eq!(fs::read_to_string(data.join("peer.key")).unwrap(), "");
    assert!(!data.join("nowhere").exists());
}

#[test]
fn where_nothing_can_be_written() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("node-example-data"), "a file where the folder should be")
        .unwrap();
    let output = node(folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(output.stdout.is_empty());
    assert!(errors.contains("the demo secret node-example-data/"), "{errors}");
}

/// A node that makes up missing secrets gives itself a new identity where a mount went wrong.
#[test]
fn no_secrets_for_settings_that_were_given() {
    let folder = Folder::without_secrets();
    assert_eq!(folder.refused().code, 69);
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), 1, "the settings alone");

    // Not even for a copy of those that the program ships with.
    folder.settings(include_str!("../../settings.yaml"));
    let output = folder.command().output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(!folder.path("node-example-data").exists());
}
