//! The tests themselves.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::peers::Peers;
use crate::system::is_root;

/// The names of tests that mount a small file system have this in them.
const NEEDS_ROOT: &str = "_disk::";

/// Runs the tests with no test ignored – but for those that only root can run, if this isn't root.
pub(crate) fn run(peers: &Peers, cargo: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new("cargo");
    command.arg("test");
    if cargo.is_empty() {
        command.arg("--workspace");
    }
    // What fails is told of every program, not of the first alone.
    command.args(cargo).args(["--no-fail-fast", "--", "--include-ignored"]);
    if !is_root() {
        println!("not root: the tests that mount a small file system are left out");
        command.args(["--skip", NEEDS_ROOT]);
    }
    for (name, value) in peers.environment() {
        command.env(name, value);
    }
    let status = command.status().context("can't run cargo")?;
    ensure!(status.success(), "the tests ended with {status}");
    Ok(())
}
