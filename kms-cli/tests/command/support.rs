//! A folder with a key file and, once it was made, a store; and the command, run in it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const KMS: &str = env!("CARGO_BIN_EXE_kms");

/// What the tests' secrets are: never to be seen in any output, but where they are asked for.
pub(crate) const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
pub(crate) const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                                abandon abandon about";
pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

pub(crate) struct Folder(TempDir);

/// How a run of the command ended, and what it said.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Folder {
    /// With a key file and no store.
    pub(crate) fn empty() -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write("key", [7; 32]);
        folder
    }

    /// With a store that the key file opens.
    pub(crate) fn new() -> Self {
        let folder = Self::empty();
        folder.kms(&["init"]).ok();
        folder
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// A secret file.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        self.chmod(name, 0o600);
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// The command, without a terminal, on the store that the key file opens.
    pub(crate) fn kms(&self, args: &[&str]) -> Run {
        self.run(&[&["--key-file", "key"], args].concat(), None)
    }

    /// The same, which says yes to everything.
    pub(crate) fn yes(&self, args: &[&str]) -> Run {
        self.kms(&[&["--yes"], args].concat())
    }

    /// The same, answering in JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.yes(&[&["--json"], args].concat()).json()
    }

    /// The same with something on standard input.
    pub(crate) fn pipe(&self, args: &[&str], input: &str) -> Run {
        self.run(&[&["--key-file", "key"], args].concat(), Some(input))
    }

    /// The command without any option that opens the store.
    pub(crate) fn bare(&self, args: &[&str]) -> Run {
        self.run(args, None)
    }

    fn run(&self, args: &[&str], input: Option<&str>) -> Run {
        let mut child = self
            .command(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(input) = input {
            // Who refuses before reading closes it.
            drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        }
        Run::of(&child.wait_with_output().unwrap())
    }

    /// In a session of its own, so that there is no terminal even where the tests are run on one.
    pub(crate) fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new("setsid");
        command.arg(KMS).args(args).current_dir(self.0.path()).env_remove("KMS_STORE");
        command
    }

    /// The ids of all keys.
    pub(crate) fn ids(&self) -> Vec<String> {
        let list = self.json(&["list", "--limit", "100000"]);
        let keys = list["keys"].as_array().unwrap().iter();
        keys.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    }

    /// A key's public key.
    pub(crate) fn public_key(&self, id: &str) -> String {
        self.kms(&["public-key", id]).ok().trim().to_owned()
    }
}

impl Run {
    pub(crate) fn of(output: &std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{} {}", self.out, self.err);
        self.out
    }

    /// One JSON object and nothing else.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        assert_eq!(out.lines().count(), 1, "{out}");
        let object: Value = serde_json::from_str(&out).unwrap();
        assert!(object.is_object(), "{object}");
        object
    }

    /// Fails with `code`, and says `part`, and nothing of any secret.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, part: &str) -> Self {
        assert_eq!(self.code, code, "{} {}", self.out, self.err);
        assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
        self.hides_secrets();
        self
    }

    #[track_caller]
    pub(crate) fn hides_secrets(&self) {
        for secret in [SECRET, WORDS, PASSPHRASE] {
            assert!(!self.out.contains(secret) && !self.err.contains(secret), "{}", self.err);
        }
    }
}
