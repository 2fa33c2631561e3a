//! The command line.

use crate::support::{Folder, node};

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = Folder::good();
    let output = node(&folder.path(".")).args(arguments).output().unwrap();
    let text = |stream| String::from_utf8(stream).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn wrong_usage() {
    for arguments in [
        &["--colour"][..],
        &["settings.yaml"],
        &["--slots"],
        &["--slots", "many"],
        &["--slots=-1"],
        &["--settings"],
        &["--json", "--json"],
        &["--check=yes"],
    ] {
        let (code, out, errors) = run(arguments);
        assert_eq!((code, out.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(errors.contains("error: "), "{errors}");
    }
}

#[test]
fn help() {
    for argument in ["--help", "-h"] {
        let (code, out, errors) = run(&[argument]);
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        for option in ["--settings", "--slots", "--check", "--json", "Exit codes: "] {
            assert!(out.contains(option), "{option} is not in: {out}");
        }
    }
}

#[test]
fn version() {
    let (code, out, errors) = run(&["--version"]);
    let expected = format!("node-example {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((code, out, errors.as_str()), (Some(0), expected, ""));
}
