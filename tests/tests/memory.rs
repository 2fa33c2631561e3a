//! What lies in the memory of a process that holds keys: no secret, in no spelling.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kms_backend_keystore::{NewKey, Store, UnlockSecret};
use kms_keys::{KeyType, SecretKey};
use kms_secrets::SecretBytes;
use kms_tests::id;
use kms_tests::memory::{Needle, needles, needles_of_key, search};
use tempfile::TempDir;

/// The program `key-holder`, killed when dropped.
struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_key-holder"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut holder = Self { child, input, output: BufReader::new(output) };
        holder.wait();
        holder
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.input, "{word}").unwrap();
        self.wait();
    }

    fn wait(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    #[track_caller]
    fn holds_nothing(&self, needles: &[Needle], when: &str) {
        let (found, read) = search(self.child.id(), needles);
        assert!(read > 1 << 20, "{read} bytes are no process");
        let found: Vec<_> = found.into_iter().collect();
        assert!(found.is_empty(), "{when}: {} hits\n{}", found.len(), found.join("\n"));
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A key of each type in a file and another in a store; every spelling of what is secret.
fn scene() -> (TempDir, Vec<Needle>) {
    let folder = TempDir::new().unwrap();
    let unlock = SecretKey::generate(KeyType::Ed25519).unwrap();
    let unlock = unlock.expose_secret().expose();
    write(&folder.path().join("key"), unlock);
    let secret = UnlockSecret::KeyFile(SecretBytes::from_slice(unlock));
    let store = Store::create(&folder.path().join("store"), &secret).unwrap();
    let mut all = needles("key file", unlock);
    for key_type in KeyType::ALL {
        let key = SecretKey::generate(*key_type).unwrap();
        let hex = base16ct::lower::encode_string(key.expose_secret().expose());
        write(&folder.path().join(key_type.as_str()), hex.as_bytes());
        all.extend(needles_of_key(&format!("file {key_type}"), &key));
        let key = SecretKey::generate(*key_type).unwrap();
        store.import(&NewKey::new(id(key_type.as_str()), *key_type), &key).unwrap();
        all.extend(needles_of_key(&format!("store {key_type}"), &key));
    }
    (folder, all)
}

#[test]
fn no_secret_lies_in_memory_while_keys_are_held_and_used() {
    let (folder, needles) = scene();
    let mut holder = Holder::start(folder.path());
    holder.holds_nothing(&needles, "loaded");
    for _ in 0..3 {
        holder.tell("sign");
        holder.holds_nothing(&needles, "after signing");
    }
    holder.tell("drop");
    holder.holds_nothing(&needles, "dropped");
}

#[test]
fn a_key_that_is_not_shielded_is_found() {
    let (folder, needles) = scene();
    let mut holder = Holder::start(folder.path());
    holder.tell("expose");
    let (found, _) = search(holder.child.id(), &needles);
    for key_type in KeyType::ALL {
        let name = format!("file {key_type} ");
        assert!(found.iter().any(|found| found.starts_with(&name)), "{name}: {found:?}");
    }
    assert!(found.iter().any(|found| found.starts_with("file ed25519 scalar")), "{found:?}");
    assert!(found.iter().any(|found| found.starts_with("file ed25519 hash")), "{found:?}");
}
