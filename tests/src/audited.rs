//! A node with a key at a server that isn't asked for what can't be recorded.

use std::path::{Path, PathBuf};

use kms_peers::{Bao, write_secret};
use kms_service::KmsApi;
use node_example::identity::Identity;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;

use crate::kms_of;

const SETTINGS: &str = "\
kms:
  backends:
    store: { type: keystore, path: store, unlock: { key_file: key }, create: true, if_missing: generate }
    vault:
      type: vault
      address: ADDRESS
      allow_http: true
      auth: { token: { file: token } }
      remote: { health_interval: 50ms, audit: { file: audit/audit.log } }
  keys:
    - { id: far/key, type: ed25519, backend: vault, if_missing: generate }
    - { id: node/identity, type: ed25519, backend: store }
    - { id: node/peer, type: ed25519, backend: store }
    - { id: proposer/main, type: secp256k1, backend: store }
    - { id: attester/0, type: bls12-381, backend: store }
    - { id: attester/1, type: bls12-381, backend: store }
    - { id: attester/2, type: bls12-381, backend: store }
    - { id: attester/3, type: bls12-381, backend: store }
identity: { key: node/identity, peer: node/peer }
proposer: { key: proposer/main, slot: 5ms }
attesters: { keys: [attester/0, attester/1, attester/2, attester/3] }
";

/// A node that has `far/key` at a server and the others in a store.
pub struct AuditedNode {
    /// The node.
    pub node: RunningNode,
    /// Its key management service.
    pub kms: KmsApi,
    /// Where requests to the server are recorded: `audit/audit.log` in its folder.
    pub log: PathBuf,
}

impl AuditedNode {
    /// With its files in `folder`. Enables Transit at the server.
    pub async fn start(bao: &Bao, folder: &Path) -> Self {
        Self::start_behind(&bao.url(), bao, folder).await
    }

    /// The same with the server behind `url`.
    pub async fn start_behind(url: &str, bao: &Bao, folder: &Path) -> Self {
        bao.must(&["secrets", "enable", "transit"]);
        write_secret(&folder.join("token"), bao.root_token());
        write_secret(&folder.join("key"), [7; 32]);
        let log = folder.join("audit/audit.log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        let text = SETTINGS.replace("ADDRESS", url);
        let settings = NodeSettings::from_yaml(&text, "settings", folder).unwrap();
        let node = RunningNode::start(settings).await.unwrap();
        let kms = kms_of::<Identity>(&node).await;
        Self { node, kms, log }
    }
}
