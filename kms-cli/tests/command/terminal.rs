//! At a terminal: passphrases that are typed, and questions that are answered.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Folder, KMS, PASSPHRASE};

/// The command on a pseudo-terminal of its own.
struct Session {
    child: Child,
    terminal: File,
    /// Keeps the terminal from going away before all of it is read.
    _side: OwnedFd,
    seen: String,
}

impl Session {
    fn start(folder: &Folder, args: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let side = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let stdio = || Stdio::from(side.try_clone().unwrap());
        let child = Command::new("setsid")
            .args(["--ctty", KMS])
            .args(args)
            .current_dir(folder.path(""))
            .env_remove("KMS_STORE")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        Self { child, terminal: terminal.into(), _side: side, seen: String::new() }
    }

    /// Waits until `text` is shown.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.read(Duration::from_secs(20)), "{text:?} is not in {:?}", self.seen);
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    /// Whether more is shown in that time.
    fn read(&mut self, wait: Duration) -> bool {
        let wait = Timespec::try_from(wait).unwrap();
        if poll(&mut [PollFd::new(&self.terminal, PollFlags::IN)], Some(&wait)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let len = self.terminal.read(&mut buffer).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..len]));
        true
    }

    fn type_line(&mut self, line: &str) {
        self.terminal.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The exit code, and what was shown since.
    fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap();
        while self.read(Duration::ZERO) {}
        (code, self.seen)
    }
}

#[test]
fn a_new_passphrase_is_typed_twice_and_then_once() {
    let folder = Folder::empty();
    let mut session = Session::start(&folder, &["init"]);
    session.expect("New passphrase of store kms.keystore: ");
    session.type_line(PASSPHRASE);
    session.expect("The same again: ");
    session.type_line(PASSPHRASE);
    let (code, shown) = session.end();
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains(PASSPHRASE));

    let mut session = Session::start(&folder, &["list"]);
    session.expect("Passphrase of store kms.keystore: ");
    session.type_line(PASSPHRASE);
    let (code, shown) = session.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("no such keys") && !shown.contains(PASSPHRASE), "{shown}");

    let mut session = Session::start(&folder, &["list"]);
    session.expect("Passphrase of store kms.keystore: ");
    session.type_line("another");
    assert_eq!(session.end().0, 69);
}

#[test]
fn two_new_passphrases_that_differ_make_no_store() {
    let folder = Folder::empty();
    let mut session = Session::start(&folder, &["init"]);
    session.expect("New passphrase of store kms.keystore: ");
    session.type_line(PASSPHRASE);
    session.expect("The same again: ");
    session.type_line("another");
    let (code, shown) = session.end();
    assert_eq!(code, 69, "{shown}");
    assert!(shown.contains("not the same"), "{shown}");
    assert!(!folder.path("kms.keystore").exists());
}

#[test]
fn a_yes_goes_on_and_anything_else_does_not() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    for (answer, code, protected) in [("no", 64, true), ("", 64, true), ("yes", 0, false)] {
        let mut session = Session::start(&folder, &["--key-file", "key", "unprotect", "a"]);
        session.expect("Type yes to go on: ");
        session.type_line(answer);
        let (ended, shown) = session.end();
        assert_eq!(ended, code, "{shown}");
        assert_eq!(folder.json(&["show", "a"])["key"]["protected"], protected);
    }
}

#[test]
fn a_key_is_destroyed_by_its_name() {
    let folder = Folder::new();
    folder.kms(&["generate", "a/b", "--type", "ed25519"]).ok();
    folder.yes(&["unprotect", "a/b"]).ok();
    folder.yes(&["delete", "a/b", "--wait", "0s"]).ok();
    for (answer, code) in [("yes", 64), ("a", 64), ("a/b", 0)] {
        let mut session = Session::start(&folder, &["--key-file", "key", "destroy", "a/b"]);
        session.expect("Type a/b to go on: ");
        session.type_line(answer);
        let (ended, shown) = session.end();
        assert_eq!(ended, code, "{shown}");
    }
}

#[test]
fn a_new_store_key_is_confirmed_with_the_names_of_who_goes() {
    let folder = Folder::new();
    folder.kms(&["unlocker", "add", "machine", "--generate-key-file", "made"]).ok();
    let mut session = Session::start(&folder, &["--key-file", "key", "rekey"]);
    session.expect("only unlocker first stays. These go: machine.");
    session.expect("Type yes to go on: ");
    session.type_line("no");
    assert_eq!(session.end().0, 64);
    folder.bare(&["--key-file", "made", "list"]).ok();
}

#[test]
fn a_restore_that_is_declined_leaves_no_new_store() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    folder.kms(&["backup", "backup", "--new-passphrase-file", "pass"]).ok();
    let args = ["--store", "new", "--key-file", "key", "restore", "backup"];
    let mut session =
        Session::start(&folder, &[&args[..], &["--from-passphrase-file", "pass"]].concat());
    session.expect("Into new store new: 0 keys");
    session.type_line("no");
    assert_eq!(session.end().0, 64);
    assert!(!folder.path("new").exists());
}

#[test]
fn secrets_are_not_typed_where_they_are_shown() {
    let folder = Folder::new();
    let args = ["--key-file", "key", "import", "a", "--type", "ed25519", "-"];
    let (code, shown) = Session::start(&folder, &args).end();
    assert_eq!(code, 64, "{shown}");
    assert!(shown.contains("not typed where they are shown"), "{shown}");
}

#[test]
fn colours_are_for_terminals() {
    let folder = Folder::new();
    let session = Session::start(&folder, &["--key-file", "key", "show", "a"]);
    assert!(session.end().1.contains("\u{1b}["));
    assert!(!folder.kms(&["show", "a"]).err.contains('\u{1b}'));
}
