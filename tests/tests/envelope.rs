//! Nodes whose stores somebody else opens: a key of a Vault server, of AWS KMS or in a token.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use kms_peers::{Bao, Ministack, SoftHsm};
use kms_tests::{id, kms_of, message, slots, verify, write_secret};
use node_example::identity::Identity;
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use serde_json::json;
use tempfile::TempDir;

const SETTINGS: &str = "\
kms:
  backends:
    store:
      type: keystore
      path: store
      create: true
      unlock: UNLOCK
  keys:
    - { id: node/identity, type: ed25519, backend: store, if_missing: generate }
    - { id: node/peer, type: ed25519, backend: store, if_missing: generate }
    - { id: proposer/main, type: secp256k1, backend: store, if_missing: generate }
    - { id: attester/0, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/1, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/2, type: bls12-381, backend: store, if_missing: generate }
    - { id: attester/3, type: bls12-381, backend: store, if_missing: generate }
identity: { key: node/identity, peer: node/peer }
proposer: { key: proposer/main, slot: 5ms }
attesters: { keys: [attester/0, attester/1, attester/2, attester/3] }
";

/// A folder with the settings of a node, and how its store is opened.
struct Scene {
    folder: TempDir,
    unlock: String,
}

impl Scene {
    /// `name` is a secret file, if there is to be one, that `unlock` names.
    fn new(unlock: &str, (name, secret): (&str, &str)) -> Self {
        let folder = TempDir::new().unwrap();
        write_secret(&folder.path().join(name), secret);
        Self { folder, unlock: unlock.to_owned() }
    }

    async fn start(&self) -> Result<RunningNode, Refusal> {
        let text = SETTINGS.replace("UNLOCK", &self.unlock);
        let settings = NodeSettings::from_yaml(&text, "settings", self.folder.path()).unwrap();
        RunningNode::start(settings).await
    }

    /// The node starts by itself until `take` was called, which it then says with all of `said`, and again
    /// once `give` was.
    async fn starts_for_as_long_as_it_may(&self, take: impl Fn(), give: impl Fn(), said: &[&str]) {
        let mut node = self.start().await.unwrap();
        let attester = id("attester/0");
        let public_key = kms_of::<Identity>(&node).await.public_key(&attester).await.unwrap();
        slots(&mut node, 3).await;

        // Taken away while it runs: it has its keys, and goes on.
        take();
        slots(&mut node, 3).await;
        node.stop().await;

        let refused = self.start().await.err().unwrap();
        assert_eq!(refused.code, ExitCode::Unavailable);
        let text = refused.to_string();
        for part in [&["store", "unlocker \"first\""], said].concat() {
            assert!(text.contains(part), "{part}: {text}");
        }

        give();
        let mut node = self.start().await.unwrap();
        let api = kms_of::<Identity>(&node).await;
        assert_eq!(api.public_key(&attester).await.unwrap(), public_key);
        verify(&public_key, &message(0), &api.sign(&attester, message(0)).await.unwrap());
        slots(&mut node, 3).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_node_starts_by_itself_for_as_long_as_vault_lets_it() {
    let bao = Bao::dev().await;
    bao.must(&["secrets", "enable", "transit"]);
    bao.must(&["write", "-f", "transit/keys/node"]);
    let give = || bao.policy("node", r#"path "transit/+/node" { capabilities = ["update"] }"#);
    let take = || bao.policy("node", r#"path "transit/+/other" { capabilities = ["update"] }"#);
    give();
    let unlock = format!(
        "{{ vault: {{ address: {}, allow_http: true, auth: {{ token: {{ file: token }} }}, key: node }} }}",
        bao.url()
    );
    let scene = Scene::new(&unlock, ("token", &bao.token(&["node"], "1h")));
    let said = ["key node of mount transit", "permission denied"];
    scene.starts_for_as_long_as_it_may(take, give, &said).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_node_starts_by_itself_for_as_long_as_aws_lets_it() {
    let aws = Ministack::start().await;
    let key = aws.must("CreateKey", &json!({}))["KeyMetadata"]["KeyId"].take();
    let change = |operation: &str| drop(aws.must(operation, &json!({ "KeyId": key })));
    let unlock = format!(
        "{{ aws: {{ region: us-east-1, endpoint_override: {}, key: {key}, \
         credentials: {{ profile: {{ file: credentials, name: default }} }} }} }}",
        aws.url()
    );
    let credentials = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    let scene = Scene::new(&unlock, ("credentials", credentials));
    let said = ["kms:Decrypt", "DisabledException"];
    let (take, give) = (|| change("DisableKey"), || change("EnableKey"));
    scene.starts_for_as_long_as_it_may(take, give, &said).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn a_node_starts_by_itself_for_as_long_as_a_token_lets_it() {
    let token = SoftHsm::start();
    let unlock = format!(
        "{{ pkcs11: {{ module: {}, token: {{ label: {} }}, pin: {{ file: pin }}, key: store, \
         if_missing: generate }} }}",
        SoftHsm::module().display(),
        token.label()
    );
    let scene = Scene::new(&unlock, ("pin", SoftHsm::PIN));
    let said = ["key store in token", token.label(), "does not decrypt", "CKA_DECRYPT is false"];
    let (take, give) = (|| may_decrypt(&token, false), || may_decrypt(&token, true));
    scene.starts_for_as_long_as_it_may(take, give, &said).await;
}

/// Says in the token whether its AES key may decrypt. The node has initialised the module.
fn may_decrypt(token: &SoftHsm, may: bool) {
    let module = Pkcs11::new(SoftHsm::module()).unwrap();
    let mut slots = module.get_slots_with_token().unwrap().into_iter();
    let is_it = |slot: &_| module.get_token_info(*slot).unwrap().label() == token.label();
    let session = module.open_rw_session(slots.find(is_it).unwrap()).unwrap();
    match session.login(UserType::User, Some(&AuthPin::new(SoftHsm::PIN.into()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
        Err(error) => panic!("{error}"),
    }
    let key = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap()[0];
    session.update_attributes(key, &[Attribute::Decrypt(may)]).unwrap();
}
