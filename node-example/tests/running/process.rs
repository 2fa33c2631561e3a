//! The node as a process: signals, its environment, readers that go away.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Folder, KEYS, errors_after_start};

/// A node that runs until it is stopped; ended with the test, however that ends.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end: the exit code, the rest of the lines, and standard error but for what each start logs.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut rest, mut errors) = (String::new(), String::new());
        self.lines.read_to_string(&mut rest).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), rest, errors_after_start(errors.as_bytes()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to kill if it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn stopped_by(signal: Signal) {
    let folder = Folder::good();
    let mut node = Running::start(folder.command_for(0).arg("--json"));
    assert!(node.line().contains(r#""event":"ready""#));
    for slot in 1..=3 {
        assert!(node.line().starts_with(&format!(r#"{{"event":"slot","slot":{slot},"#)));
    }
    node.send(signal);
    let (code, rest, errors) = node.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let lines: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (stopped, slots) = lines.split_last().unwrap();
    assert_eq!(stopped["event"], "stopped");
    assert_eq!(stopped["slots"], slots.len() + 3, "{rest}");
    assert!(slots.iter().all(|slot| slot["verified"] == true), "{rest}");
}

#[test]
fn interrupted() {
    stopped_by(Signal::INT);
}

#[test]
fn terminated() {
    stopped_by(Signal::TERM);
}

#[test]
fn stopped_in_text() {
    let folder = Folder::good();
    let mut node = Running::start(&mut folder.command_for(0));
    for _ in 0..KEYS.len() + 2 {
        assert_ne!(node.line(), "");
    }
    node.send(Signal::INT);
    let (code, rest, errors) = node.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(rest.lines().last().unwrap().starts_with("stopped after "), "{rest}");
}

/// Taken out of the environment, and out of the memory that `/proc` shows as such, where the rest
/// of the environment still is.
#[test]
fn environment_is_wiped() {
    let folder = Folder::good();
    folder.settings_with("{ file: peer.key }", "{ env: PEER_KEY }");
    let secret = KEYS[5].secret;
    let mut command = folder.command_for(0);
    let mut node =
        Running::start(command.arg("--json").env("PEER_KEY", secret).env("OTHER", "stays"));
    assert!(node.line().contains(KEYS[5].public), "the key was loaded");

    let process = format!("/proc/{}", node.child.id());
    match fs::read(format!("{process}/environ")) {
        Ok(environment) => {
            let environment = String::from_utf8_lossy(&environment);
            assert!(environment.contains("OTHER=stays"), "{environment}");
            assert!(!environment.contains(&secret[..8]), "{environment}");
        }
        // The node is hardened: root alone may read it.
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    }
    let arguments = fs::read_to_string(format!("{process}/cmdline")).unwrap();
    assert!(!arguments.contains(&secret[..8]), "{arguments}");
    node.send(Signal::TERM);
    assert_eq!(node.end().0, Some(0));
}

/// Nobody but root may read its memory, it dumps no core and gains no privileges.
#[test]
fn hardened() {
    let folder = Folder::good();
    let mut node = Running::start(folder.command_for(0).arg("--json"));
    assert!(node.line().contains(r#""event":"ready""#));
    let process = format!("/proc/{}", node.child.id());
    // The files of a process that is not dumpable belong to root.
    assert_eq!(fs::metadata(format!("{process}/mem")).unwrap().uid(), 0);
    let told = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("{process}/{file}")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told("limits", "Max core file size"), ["0", "0", "bytes"]);
    assert_eq!(told("status", "NoNewPrivs:"), ["1"]);
    node.send(Signal::TERM);
    assert_eq!(node.end().0, Some(0));
}

/// As with `| head -1`: the node runs its slots and says nothing about it.
#[test]
fn reader_that_goes_away() {
    let folder = Folder::good();
    let mut process =
        folder.command_for(20).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::with_capacity(1, process.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.starts_with("ready"), "{first}");
    drop(lines);
    let output = process.wait_with_output().unwrap();
    let errors = errors_after_start(&output.stderr);
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
}

/// Nobody reads the report: the exit code still tells.
#[test]
fn nobody_reads_the_report() {
    let folder = Folder::without_secrets();
    let mut process =
        folder.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(process.stderr.take());
    assert_eq!(process.wait().unwrap().code(), Some(69));
}

#[test]
fn help_that_nobody_reads() {
    let folder = Folder::good();
    let mut process = folder
        .command()
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}
