//! A folder with settings and secrets, and the node's command run on it.

#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod leaks;
pub(crate) mod pem;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A key of the good settings.
pub(crate) struct Key {
    pub(crate) id: &'static str,
    pub(crate) key_type: &'static str,
    pub(crate) file: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) public: &'static str,
}

/// The keys of the good settings, in the order of their ids. Their secrets are fixed, so that leaks
/// can be looked for, and so are their public keys: those of RFC 8032 (tests 1 and 2), of Ethereum's
/// BLS test vectors (attesters 0 and 1), and what OpenSSL makes of the proposer's secret.
pub(crate) const KEYS: [Key; 7] = [
    Key {
        id: "attester/0",
        key_type: "bls12-381",
        file: "attester-0.key",
        secret: "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3",
        public: "a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a",
    },
    Key {
        id: "attester/1",
        key_type: "bls12-381",
        file: "attester-1.key",
        secret: "47b8192d77bf871b62e87859d653922725724a5c031afeabc60bcef5ff665138",
        public: "b301803f8b5ac4a1133581fc676dfedc60d891dd5fa99028805e5ea5b08d3491af75d0707adab3b70c6a6a580217bf81",
    },
    Key {
        id: "attester/2",
        key_type: "bls12-381",
        file: "attester-2.key",
        secret: "52734b9ee13912114f29bf376c0f3873b4fa66e1c49cd545561bc0ea46b9efac",
        public: "988ec139c2df707a510925493b44f450334965bc32edfd17a45fda951629240ea2918459b4b6b060f8f9ae5249d99bc2",
    },
    Key {
        id: "attester/3",
        key_type: "bls12-381",
        file: "attester-3.key",
        secret: "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
        public: "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07",
    },
    Key {
        id: "node/identity",
        key_type: "ed25519",
        file: "identity.key",
        secret: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        public: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    },
    Key {
        id: "node/peer",
        key_type: "ed25519",
        file: "peer.key",
        secret: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        public: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    },
    Key {
        id: "proposer/main",
        key_type: "secp256k1",
        file: "proposer.key",
        secret: "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
        public: "032c8c31fc9f990c6b55e3865a184a4ce50e09481f2eaeb3e60ec1cea13a6ae645",
    },
];

/// Settings with which the node starts.
pub(crate) const GOOD: &str = "\
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
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn good() -> Self {
        let folder = Self::without_secrets();
        for key in &KEYS {
            folder.secret(key.file, key.secret.as_bytes());
        }
        folder
    }

    pub(crate) fn without_secrets() -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.settings(GOOD);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn settings(&self, text: &str) {
        fs::write(self.path("settings.yaml"), text).unwrap();
    }

    /// The good settings with a part replaced; the part must be there.
    pub(crate) fn settings_with(&self, part: &str, replacement: &str) {
        self.settings(&good_with(&[(part, replacement)]));
    }

    pub(crate) fn secret(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
        self.mode(name, 0o600);
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// The command on this folder's settings, with an empty environment, for one slot.
    pub(crate) fn command(&self) -> Command {
        self.command_for(1)
    }

    pub(crate) fn command_for(&self, slots: u64) -> Command {
        let mut command = node(self.0.path());
        command.arg("--settings").arg(self.path("settings.yaml"));
        command.arg(format!("--slots={slots}"));
        command
    }

    /// Runs the node and expects it to be refused: its report in both forms, neither of which may
    /// show a secret.
    pub(crate) fn refused(&self) -> Refused {
        self.refused_with(&[])
    }

    pub(crate) fn refused_with(&self, environment: &[(&str, &str)]) -> Refused {
        let envs = environment.iter().copied();
        let json = self.command().arg("--json").envs(envs.clone()).output().unwrap();
        let text = self.command().envs(envs).output().unwrap();
        Refused::new(&json, &text)
    }

    /// Runs the node for one slot and expects it to be all right.
    pub(crate) fn runs_with(&self, environment: &[(&str, &str)]) -> Vec<Value> {
        let mut command = self.command();
        command.arg("--json").envs(environment.iter().copied());
        lines_of(&succeeds(&mut command))
    }
}

/// The good settings with parts replaced; each part must be there.
pub(crate) fn good_with(changes: &[(&str, &str)]) -> String {
    let mut text = GOOD.to_owned();
    for (part, replacement) in changes {
        assert!(text.contains(part), "{part} is not in the settings");
        text = text.replace(part, replacement);
    }
    text
}

/// The command, started in `folder` with nothing in its environment.
pub(crate) fn node(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node-example"));
    command.current_dir(folder).env_clear();
    command
}

/// Runs a command that must succeed, and show no secret.
pub(crate) fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    leaks::none_in(&output);
    output
}

/// What was written to standard error, but for the two lines that each start logs: that the service has started,
/// and how the key is protected that secrets are shielded with.
pub(crate) fn errors_after_start(errors: &[u8]) -> String {
    let (logged, rest): (Vec<_>, Vec<_>) = str::from_utf8(errors)
        .unwrap()
        .split_inclusive('\n')
        .partition(|line| line.contains(" INFO kms_service::") || line.contains(MAY_BE_SWAPPED));
    let log = logged.concat();
    assert_eq!(logged.len(), 2, "{log}");
    assert!(log.contains("key management service started"), "{log}");
    assert!(log.contains("are shielded by a key in "), "{log}");
    rest.concat()
}

/// Where no memory can be locked, that is a warning.
const MAY_BE_SWAPPED: &str =
    " WARN kms_service::startup: secrets at rest are shielded by a key in unlocked pages";

/// The JSON lines on standard output.
pub(crate) fn lines_of(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How a node was refused.
pub(crate) struct Refused {
    pub(crate) code: i32,
    /// The failures of the JSON report.
    pub(crate) failures: Vec<Value>,
    /// The report for people.
    pub(crate) text: String,
}

impl Refused {
    fn new(json: &Output, text: &Output) -> Self {
        for output in [json, text] {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing may run");
            leaks::none_in(output);
        }
        let code = json.status.code().unwrap();
        assert_eq!(text.status.code(), Some(code));
        let report: Value = serde_json::from_slice(&json.stderr).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&json.stderr));
        });
        assert_eq!(report["event"], "refused");
        assert_eq!(report["code"], code);
        let failures = report["failures"].as_array().unwrap().clone();
        let text = String::from_utf8(text.stderr.clone()).unwrap();
        assert_eq!(text.lines().count(), failures.len() + 1, "a line for each failure: {text}");
        for failure in &failures {
            let line = |line: &str| {
                let parts =
                    ["key", "field", "cause"].map(|part| failure[part].as_str().unwrap_or(""));
                parts.iter().all(|part| line.contains(part))
            };
            assert!(text.lines().any(line), "{failure} is not in: {text}");
        }
        Self { code, failures, text }
    }

    /// Each failure's key (or field, or nothing) and cause.
    pub(crate) fn causes(&self) -> Vec<(&str, &str)> {
        let failures = self.failures.iter().map(|failure| {
            let named = failure["key"].as_str().or(failure["field"].as_str());
            (named.unwrap_or(""), failure["cause"].as_str().unwrap())
        });
        failures.collect()
    }

    /// Expects exactly these failures: the key (or field) of each, and a part of its cause.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, expected: &[(&str, &str)]) {
        let found = self.causes();
        let same = found.len() == expected.len()
            && found.iter().zip(expected).all(|((key, cause), (expected_key, part))| {
                key == expected_key && cause.contains(part)
            });
        assert!(same, "expected {expected:#?}, found {found:#?}");
        assert_eq!(self.code, code, "{found:?}");
    }
}
