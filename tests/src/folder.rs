//! A folder with the secrets of a node.

use std::path::PathBuf;

use kms_peers::write_secret;
use node_example::settings::NodeSettings;
use tempfile::TempDir;

/// The settings that every test begins with.
pub const SETTINGS: &str = "\
kms:
  backends:
    local: { type: preload }
  keys:
    - { id: node/identity, type: ed25519, source: { file: node-identity } }
    - { id: node/peer, type: ed25519, source: { file: node-peer } }
    - { id: proposer/main, type: secp256k1, source: { file: proposer-main } }
    - { id: attester/0, type: bls12-381, source: { file: attester-0 } }
    - { id: attester/1, type: bls12-381, source: { file: attester-1 } }
    - { id: attester/2, type: bls12-381, source: { file: attester-2 } }
    - { id: attester/3, type: bls12-381, source: { file: attester-3 } }
  limits: { deadline: 10m }
identity: { key: node/identity, peer: node/peer }
proposer: { key: proposer/main, slot: 5ms }
attesters: { keys: [attester/0, attester/1, attester/2, attester/3] }
";

const FILES: [&str; 7] = [
    "node-identity",
    "node-peer",
    "proposer-main",
    "attester-0",
    "attester-1",
    "attester-2",
    "attester-3",
];

/// A folder with a secret for each key of [`SETTINGS`]; removed when dropped.
pub struct Folder(TempDir);

impl Folder {
    /// Secrets that differ from those of every other `seed`.
    #[must_use]
    pub fn new(seed: u8) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for (index, file) in (1..).zip(FILES) {
            let secret = [index, seed].repeat(16);
            let hex: String = secret.iter().map(|byte: &u8| format!("{byte:02x}")).collect();
            let path = folder.path(file);
            write_secret(&path, hex);
        }
        folder
    }

    /// A file of the folder.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// [`SETTINGS`] on these secrets.
    #[must_use]
    pub fn settings(&self) -> NodeSettings {
        self.settings_with("", "")
    }

    /// [`SETTINGS`] with a part replaced, on these secrets.
    #[must_use]
    pub fn settings_with(&self, part: &str, replacement: &str) -> NodeSettings {
        assert!(SETTINGS.contains(part), "{part} is not in the settings");
        self.settings_of(&SETTINGS.replacen(part, replacement, 1))
    }

    /// Other settings on these secrets.
    #[must_use]
    pub fn settings_of(&self, text: &str) -> NodeSettings {
        NodeSettings::from_yaml(text, "the test's settings", self.0.path()).unwrap()
    }
}
