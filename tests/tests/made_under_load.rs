//! A node that makes keys at its server while others are signed with there.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use kms_backend::IfMissing;
use kms_backends::AnyBackend;
use kms_keys::{KeyType, PublicKey};
use kms_peers::{Bao, Callers, Ministack};
use kms_service::{KeyRequest, KmsApi, KmsSection, KmsService, ShippedOperators};
use kms_tests::{message, verify, write_secret};
use overwatch::derive_services;
use overwatch::overwatch::OverwatchRunner;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

type Kms = KmsService<AnyBackend, ShippedOperators, RuntimeServiceId>;

/// One backend, so that keys can be made that no settings declare.
#[derive_services]
struct Node {
    kms: Kms,
}

const SIGNERS: usize = 16;
const MAKERS: usize = 6;

/// How many keys each maker makes alone, and how many all of them ask for.
const KEYS: usize = 4;

/// Far longer than any request takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A key with this id, which is made if it isn't there, and has signed.
async fn made(kms: &KmsApi, id: String, key_type: KeyType) -> PublicKey {
    let request = KeyRequest::new(id.clone(), key_type).if_missing(IfMissing::Generate);
    let key = kms.register(request).await.unwrap();
    verify(key.public_key(), id.as_bytes(), &key.sign(id.as_bytes()).await.unwrap());
    key.public_key().clone()
}

/// The public keys of all keys that were made at the backend `section` under load.
fn under_load(
    runtime: &Runtime,
    folder: &TempDir,
    section: &Value,
    key_types: &'static [KeyType],
) -> Vec<PublicKey> {
    let section =
        json!({ "backends": { "far": section }, "keys": [], "limits": { "deadline": "2m" } });
    let section: KmsSection<AnyBackend> = serde_json::from_value(section).unwrap();
    let kms = section.check::<RuntimeServiceId>(folder.path()).unwrap();
    let node = OverwatchRunner::<Node>::run(NodeServiceSettings { kms }, None).unwrap();
    let handle = node.handle().clone();
    let keys = runtime.block_on(async move {
        handle.start_service::<Kms>().await.unwrap();
        let kms = KmsApi::connect::<Kms, Kms>(&handle).await.unwrap().with_deadline(PATIENCE);
        let request = KeyRequest::new("first", KeyType::Ed25519).if_missing(IfMissing::Generate);
        let first = kms.register(request).await.unwrap();
        let signers = {
            let first = first.clone();
            Callers::start(SIGNERS, move |caller| {
                let first = first.clone();
                async move {
                    let signature = first.sign(message(caller)).await.unwrap();
                    verify(first.public_key(), &message(caller), &signature);
                }
            })
        };
        signers.go_on().await;
        let makers = (0..MAKERS).map(|maker| {
            let kms = kms.clone();
            tokio::spawn(async move {
                let (mut own, mut shared) = (Vec::new(), Vec::new());
                for number in 0..KEYS {
                    let key_type = key_types[number % key_types.len()];
                    own.push(made(&kms, format!("own-{maker}/{number}"), key_type).await);
                    shared.push(made(&kms, format!("shared/{number}"), key_type).await);
                }
                (own, shared)
            })
        });
        let makers = makers.collect::<Vec<_>>();
        let (own, shared): (Vec<_>, Vec<_>) =
            join_all(makers).await.into_iter().map(Result::unwrap).unzip();
        signers.go_on().await;
        signers.end().await;
        assert!(shared.iter().all(|keys| *keys == shared[0]), "made twice: {shared:?}");
        let mut keys = own.concat();
        keys.extend(shared[0].clone());
        keys.push(first.public_key().clone());
        handle.shutdown().await.unwrap();
        keys
    });
    node.blocking_wait_finished();
    let different: BTreeSet<_> = keys.iter().map(ToString::to_string).collect();
    assert_eq!(different.len(), MAKERS * KEYS + KEYS + 1);
    keys
}

#[test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
fn keys_are_made_once_in_aws_while_others_sign() {
    let (runtime, folder) = (Runtime::new().unwrap(), TempDir::new().unwrap());
    let aws = runtime.block_on(Ministack::start());
    let credentials = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    write_secret(&folder.path().join("credentials"), credentials);
    let section = json!({
        "type": "aws", "region": "us-east-1", "endpoint_override": aws.url(),
        "credentials": { "profile": { "file": "credentials", "name": "default" } }
    });
    let made = under_load(&runtime, &folder, &section, &[KeyType::Ed25519, KeyType::Secp256k1]);
    let there = aws.keys();
    assert_eq!(there.len(), made.len());
    assert!(there.iter().all(|key| key["KeyState"] == "Enabled"));
}

#[test]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
fn keys_are_made_once_in_vault_while_others_sign() {
    let (runtime, folder) = (Runtime::new().unwrap(), TempDir::new().unwrap());
    let bao = runtime.block_on(Bao::dev());
    bao.must(&["secrets", "enable", "transit"]);
    write_secret(&folder.path().join("token"), bao.root_token());
    let section = json!({
        "type": "vault", "address": bao.url(), "allow_http": true,
        "auth": { "token": { "file": "token" } }
    });
    let made = under_load(&runtime, &folder, &section, &[KeyType::Ed25519]);
    let names = bao.must(&["list", "-format=json", "transit/keys"]);
    let names: Vec<String> = serde_json::from_str(&names).unwrap();
    assert_eq!(names.len(), made.len(), "{names:?}");
    for name in names {
        // A key that was made twice would have a second version.
        let key = bao.must(&["read", "-format=json", &format!("transit/keys/{name}")]);
        let key: Value = serde_json::from_str(&key).unwrap();
        assert_eq!(key["data"]["latest_version"], 1, "{name}");
    }
}
