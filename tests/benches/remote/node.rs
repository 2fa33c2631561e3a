//! A node with a key in each peer.

use kms_keys::KeyId;
use kms_peers::{Bao, Ministack, Proxy, SoftHsm};
use kms_service::KmsApi;
use kms_tests::{id, kms_of, write_secret};
use node_example::identity::Identity;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tempfile::TempDir;

pub struct Scene {
    pub bao: Bao,
    pub aws: Ministack,
    pub token: SoftHsm,
    pub api: KmsApi,
    /// The name of each peer, and a key there.
    pub keys: [(&'static str, KeyId); 5],
    /// A key whose backend misbehaves when `proxy` does.
    pub broken: KeyId,
    pub proxy: Proxy,
    /// A key in this process.
    pub here: KeyId,
    node: RunningNode,
    _folder: TempDir,
}

impl Scene {
    pub async fn start() -> Self {
        let (bao, aws) = (Bao::dev().await, Ministack::start().await);
        let proxy = Proxy::before(bao.address()).await;
        let (token, folder) = (SoftHsm::start(), TempDir::new().unwrap());
        bao.must(&["secrets", "enable", "transit"]);
        let profile = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
        for (name, text) in
            [("token", bao.root_token()), ("pin", SoftHsm::PIN), ("credentials", profile)]
        {
            write_secret(&folder.path().join(name), text);
        }
        let (url, module, label) = (bao.url(), SoftHsm::module(), token.label().to_owned());
        let settings = format!(
            "\
kms:
  backends:
    store: {{ type: keystore, path: store, unlock: {{ passphrase: {{ file: pin }} }}, create: true, if_missing: generate }}
    vault: {{ type: vault, address: \"{url}\", allow_http: true, auth: {{ token: {{ file: token }} }}, if_missing: generate }}
    broken: {{ type: vault, address: \"{}\", allow_http: true, auth: {{ token: {{ file: token }} }}, if_missing: generate }}
    aws: {{ type: aws, region: us-east-1, endpoint_override: \"{}\", credentials: {{ profile: {{ file: credentials, name: default }} }}, if_missing: generate }}
    pkcs11: {{ type: pkcs11, module: {}, token: {{ label: {label} }}, pin: {{ file: pin }}, sessions: 16, if_missing: generate }}
  keys:
    - {{ id: far, type: ed25519, backend: vault }}
    - {{ id: broken, type: ed25519, backend: broken }}
    - {{ id: cloud, type: ed25519, backend: aws }}
    - {{ id: cloud-ec, type: secp256k1, backend: aws }}
    - {{ id: near, type: ed25519, backend: pkcs11 }}
    - {{ id: near-ec, type: secp256k1, backend: pkcs11 }}
    - {{ id: node/identity, type: ed25519, backend: store }}
    - {{ id: node/peer, type: ed25519, backend: store }}
    - {{ id: proposer/main, type: secp256k1, backend: store }}
    - {{ id: attester/0, type: bls12-381, backend: store }}
identity: {{ key: node/identity, peer: node/peer }}
proposer: {{ key: proposer/main, slot: 1h }}
attesters: {{ keys: [attester/0] }}
",
            proxy.url(),
            aws.url(),
            module.display()
        );
        let settings = NodeSettings::from_yaml(&settings, "settings", folder.path()).unwrap();
        let node = RunningNode::start(settings).await.unwrap();
        let api = kms_of::<Identity>(&node).await;
        let keys = [
            ("vault.ed25519", id("far")),
            ("aws.ed25519", id("cloud")),
            ("aws.secp256k1", id("cloud-ec")),
            ("pkcs11.ed25519", id("near")),
            ("pkcs11.secp256k1", id("near-ec")),
        ];
        let (broken, here) = (id("broken"), id("node/peer"));
        Self { broken, proxy, here, bao, aws, token, api, keys, node, _folder: folder }
    }

    pub async fn stop(self) {
        self.node.stop().await;
    }
}
