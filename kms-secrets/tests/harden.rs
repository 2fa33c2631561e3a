//! What [`kms_secrets::harden_process`] changes, as the kernel tells it.
//!
//! The program starts itself again, since what it does to a process can't be undone.

#![allow(clippy::unwrap_used, reason = "a failed check ends the test program")]

use std::process::Command;

use kms_secrets::{environment, harden_process};

fn main() {
    if std::env::var_os("KMS_TEST_CHILD").is_some() {
        child();
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .env("KMS_TEST_CHILD", "1")
        .env("KMS_TEST_KEY", "a secret")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "every check held\n");
    println!("a hardened process is closed: ok");
}

fn child() {
    assert!(told("/proc/self/status", "NoNewPrivs:").ends_with('0'));
    let hardened = harden_process();
    assert!(hardened.is_complete(), "{hardened}");

    assert!(told("/proc/self/status", "NoNewPrivs:").ends_with('1'));
    let limit = told("/proc/self/limits", "Max core file size");
    assert_eq!(limit.split_ascii_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    let behavior = rustix::process::dumpable_behavior().unwrap();
    assert_eq!(behavior, rustix::process::DumpableBehavior::NotDumpable);

    // What a node does next works, whoever it runs as.
    environment::take(["KMS_TEST_KEY"]).unwrap();
    assert!(std::env::var_os("KMS_TEST_KEY").is_none());
    println!("every check held");
}

/// What follows `name` in a line of `file`.
fn told(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().to_owned()
}
