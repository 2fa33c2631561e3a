//! Help, completions, exit codes, and what is done about wrong arguments.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Folder, Run, SECRET};

/// The names in the help's list of commands.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Walks the help of a command and of those below it; gives how many there are.
fn walk(folder: &Folder, path: &[&str]) -> usize {
    let help = folder.bare(&[path, &["--help"]].concat()).ok();
    assert!(help.contains("Examples:\n  kms ") || help.contains("\nExamples:\n"), "{help}");
    for option in ["--store", "--passphrase-file", "--json", "--yes"] {
        assert!(help.contains(option), "{path:?} {option}");
    }
    let below = commands(&help);
    let walk_one = |name: &String| walk(folder, &[path, &[name.as_str()]].concat());
    1 + below.iter().map(walk_one).sum::<usize>()
}

#[test]
fn every_command_has_help_with_examples() {
    assert_eq!(walk(&Folder::empty(), &[]), 31);
}

#[test]
fn completions_come_out_for_shells() {
    let folder = Folder::empty();
    let bash = folder.bare(&["completions", "bash"]).ok();
    assert!(bash.contains("_kms()") && bash.contains("cancel-delete"));
    assert!(folder.bare(&["completions", "zsh"]).ok().contains("#compdef kms"));
    let json = folder.bare(&["--json", "completions", "fish"]).json();
    assert!(json["script"].as_str().unwrap().contains("complete -c kms"));
    folder.bare(&["completions", "cmd"]).fails(64, "invalid value");
}

#[test]
fn wrong_usage_is_64() {
    let folder = Folder::empty();
    assert!(folder.bare(&["--version"]).ok().starts_with("kms "));
    for args in [&[][..], &["nothing"], &["list", "--nothing"], &["show"], &["show", "a", "b"]] {
        assert_eq!(folder.bare(args).code, 64, "{args:?}");
    }
    let run = folder.bare(&["--json", "list", "--nothing"]);
    let error: serde_json::Value = serde_json::from_str(&run.err).unwrap();
    assert_eq!(error["code"], 64);
    assert!(run.out.is_empty());
}

#[test]
fn errors_are_one_object_for_programs() {
    let folder = Folder::new();
    let run = folder.kms(&["--json", "show", "a"]);
    assert_eq!((run.code, run.out.as_str()), (69, ""));
    let error: serde_json::Value = serde_json::from_str(&run.err).unwrap();
    assert_eq!(error, serde_json::json!({ "error": "there is no key a in the store", "code": 69 }));
    assert!(folder.kms(&["show", "a"]).err.starts_with("kms: there is no key a"));
}

#[test]
fn there_is_no_place_for_a_secret_on_the_command_line() {
    let folder = Folder::new();
    for args in [
        &["import", "a", SECRET, "--type", "ed25519"][..],
        &["import", "a", "file", SECRET, "--type", "ed25519"],
        &["import", "a", "--type", "ed25519", "--secret", SECRET],
        &["import", "a", "--type", SECRET, "-"],
        &["--passphrase", SECRET, "list"],
        &[&format!("--passphrase={SECRET}"), "list"],
        &["backup", "file", "--new-passphrase-file", SECRET],
        &["backup", "file", "--new-passphrase-env", SECRET],
        &["unlocker", "add", "x", "--new-key-file", SECRET],
    ] {
        folder.kms(args).fails(64, "secret");
    }
    folder.bare(&["--passphrase-file", SECRET, "list"]).fails(64, "secret");
    folder.bare(&["--key-file", SECRET, "list"]).fails(64, "secret");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519", "--count", "2000"]).ok();
    let mut command = folder.command(["--key-file", "key", "list", "--limit", "2000"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn paths_need_not_be_text() {
    let folder = Folder::empty();
    let name = OsStr::from_bytes(b"store-\xff");
    let args = [OsStr::new("--json"), OsStr::new("--key-file"), OsStr::new("key")];
    let run = |rest: &[&OsStr]| {
        let args = [&args[..], &[OsStr::new("--store"), name], rest].concat();
        Run::of(&folder.command(args).output().unwrap())
    };
    let made = run(&[OsStr::new("init")]).json();
    assert_eq!(made["store"], "store-\u{fffd}");
    run(&[OsStr::new("doctor")]).json();
}
