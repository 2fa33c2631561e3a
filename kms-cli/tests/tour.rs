//! The operator's tour in the README, run as it is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test fails the test")]

use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");

/// The lines of the tour.
fn tour() -> String {
    let (_, section) = README.split_once("## The operator's command\n").expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("its block");
    let (block, _) = block.split_once("```").expect("the block's end");
    block.to_owned()
}

#[test]
fn every_line_of_the_tour_works_as_printed() {
    let tour = tour();
    assert!(tour.lines().filter(|line| line.starts_with("kms ")).count() > 15, "{tour}");
    let folder = tempfile::TempDir::new().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_kms")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(
        std::iter::once(programs.to_path_buf()).chain(std::env::split_paths(&path)),
    );
    let output = Command::new("bash")
        .args(["-e", "-c", &tour])
        .current_dir(folder.path())
        .env("PATH", path.unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("attester/2 is destroyed"), "{said}");
    assert!(!said.contains("problem"), "doctor found something: {said}");
}
