//! A folder with settings and secrets, and the node's command run on it.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The secrets of the good settings, by file name. Fixed, so that leaks can be looked for.
pub const SECRETS: [(&str, &str); 7] = [
    ("identity.key", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
    ("peer.key", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
    ("proposer.key", "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
    ("attester-0.key", "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3"),
    ("attester-1.key", "47b8192d77bf871b62e87859d653922725724a5c031afeabc60bcef5ff665138"),
    ("attester-2.key", "52734b9ee13912114f29bf376c0f3873b4fa66e1c49cd545561bc0ea46b9efac"),
    ("attester-3.key", "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"),
];

/// Settings with which the node starts.
pub const GOOD: &str = "\
kms:
  backends:
    local: { type: preload }
  keys:
    - { id: node/identity, type: ed25519, source: { file: identity.key } }
    - { id: node/peer, type: ed25519, source: { file: peer.key } }
    - { id: proposer/main, type: secp256k1, source: { file: proposer.key } }
    - { id: attester/0, type: bls12-381, source: { file: attester-0.key } }
    - { id: attester/1, type: bls12-381, source: { file: attester-1.key } }
    - { id: attester/2, type: bls12-381, source: { file: attester-2.key } }
    - { id: attester/3, type: bls12-381, source: { file: attester-3.key } }
identity: { key: node/identity, peer: node/peer }
proposer: { key: proposer/main, slot: 10ms }
attesters: { keys: [attester/0, attester/1, attester/2, attester/3] }
";

/// A folder with good settings and secrets, to be spoilt by a test.
pub struct Folder(TempDir);

impl Folder {
    pub fn good() -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.settings(GOOD);
        for (name, secret) in SECRETS {
            folder.secret(name, secret.as_bytes());
        }
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn settings(&self, text: &str) {
        fs::write(self.path("settings.yaml"), text).unwrap();
    }

    /// The good settings with a part replaced; the part must be there.
    pub fn settings_with(&self, part: &str, replacement: &str) {
        assert!(GOOD.contains(part), "{part}");
        self.settings(&GOOD.replace(part, replacement));
    }

    pub fn secret(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
        self.mode(name, 0o600);
    }

    pub fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// The command on this folder's settings, without any environment but a log level.
    pub fn command(&self) -> Command {
        let mut command = node(self.0.path());
        command.arg("--settings").arg(self.path("settings.yaml")).arg("--slots=1");
        command
    }

    /// Runs the node and expects it to be refused: its exit code, and its report in both forms,
    /// which must not show any secret.
    pub fn refused(&self) -> (i32, Value, String) {
        self.refused_with(&[])
    }

    pub fn refused_with(&self, environment: &[(&str, &str)]) -> (i32, Value, String) {
        let envs = environment.iter().copied();
        let json = self.command().arg("--json").envs(envs.clone()).output().unwrap();
        let text = self.command().envs(envs).output().unwrap();
        let code = json.status.code().unwrap();
        assert_eq!(text.status.code(), Some(code));
        for output in [&json, &text] {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing ran");
            no_secrets_in(output);
        }
        let report: Value = serde_json::from_slice(&json.stderr).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&json.stderr));
        });
        assert_eq!(report["event"], "refused");
        assert_eq!(report["code"], code);
        (code, report, String::from_utf8(text.stderr).unwrap())
    }
}

/// The command, started in `folder` with nothing in its environment.
pub fn node(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node-example"));
    command.current_dir(folder).env_clear();
    command
}

/// The failures of a report as (key, cause), without those that are about no key.
pub fn failures(report: &Value) -> Vec<(String, String)> {
    let failures = report["failures"].as_array().unwrap();
    let keyed = failures.iter().filter(|failure| !failure["key"].is_null());
    keyed.map(|failure| (text(&failure["key"]), text(&failure["cause"]))).collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Looks for every secret of the good settings in what a process printed: hexadecimal of either
/// case in parts, and the list of decimal bytes.
pub fn no_secrets_in(output: &Output) {
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream).to_lowercase();
        for (name, secret) in SECRETS {
            for part in [&secret[8..24], &secret[40..56]] {
                assert!(!text.contains(part), "{name} is in: {text}");
            }
            let bytes: Vec<_> = (16..32).step_by(2).map(|at| decimal(&secret[at..at + 2])).collect();
            assert!(!text.contains(&bytes.join(", ")), "{name} is in: {text}");
        }
    }
}

fn decimal(hex: &str) -> String {
    u8::from_str_radix(hex, 16).unwrap().to_string()
}
