//! A node with a key in each peer.

use kms_keys::KeyId;
use kms_peers::{Bao, SoftHsm};
use kms_service::KmsApi;
use kms_tests::{id, kms_of, write_secret};
use node_example::identity::Identity;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tempfile::TempDir;

pub struct Scene {
    pub bao: Bao,
    pub token: SoftHsm,
    pub api: KmsApi,
    /// The name of each peer, and the key there.
    pub keys: [(&'static str, KeyId); 2],
    node: RunningNode,
    _folder: TempDir,
}

impl Scene {
    pub async fn start() -> Self {
        let (bao, token, folder) = (Bao::dev().await, SoftHsm::start(), TempDir::new().unwrap());
        bao.must(&["secrets", "enable", "transit"]);
        for (name, text) in [("token", bao.root_token()), ("pin", SoftHsm::PIN)] {
            write_secret(&folder.path().join(name), text);
        }
        let (url, module, label) = (bao.url(), SoftHsm::module(), token.label().to_owned());
        let settings = format!(
            "\
kms:
  backends:
    store: {{ type: keystore, path: store, unlock: {{ passphrase: {{ file: pin }} }}, create: true, if_missing: generate }}
    vault: {{ type: vault, address: \"{url}\", allow_http: true, auth: {{ token: {{ file: token }} }}, if_missing: generate }}
    pkcs11: {{ type: pkcs11, module: {}, token: {{ label: {label} }}, pin: {{ file: pin }}, sessions: 16, if_missing: generate }}
  keys:
    - {{ id: far, type: ed25519, backend: vault }}
    - {{ id: near, type: ed25519, backend: pkcs11 }}
    - {{ id: node/identity, type: ed25519, backend: store }}
    - {{ id: node/peer, type: ed25519, backend: store }}
    - {{ id: proposer/main, type: secp256k1, backend: store }}
    - {{ id: attester/0, type: bls12-381, backend: store }}
identity: {{ key: node/identity, peer: node/peer }}
proposer: {{ key: proposer/main, slot: 1h }}
attesters: {{ keys: [attester/0] }}
",
            module.display()
        );
        let settings = NodeSettings::from_yaml(&settings, "settings", folder.path()).unwrap();
        let node = RunningNode::start(settings).await.unwrap();
        let api = kms_of::<Identity>(&node).await;
        let keys = [("vault", id("far")), ("pkcs11", id("near"))];
        Self { bao, token, api, keys, node, _folder: folder }
    }

    pub async fn stop(self) {
        self.node.stop().await;
    }
}
