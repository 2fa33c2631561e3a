//! Holds keys, from files, the environment and stores, and does what standard input says, one word a
//! line, while `tests/memory.rs` looks at its memory: `sign`, `expose` (which a correct program never
//! does), `drop`. Says `done` after each, and once when the keys are loaded.
//!
//! Not hardened: others may read its memory.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test that started it")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use kms_backend::{
    Backend, BackendSettings, IfMissing, KeySpec, OpenContext, RegisteredKey, Signer,
};
use kms_backend_keystore::{KeystoreSettings, UnlockSource};
use kms_backend_preload::PreloadSettings;
use kms_keys::{KeyType, Operator, SecretKey, X25519Operator};
use kms_secrets::{DecodedSecret, PassphraseSource, SecretSource, environment};
use kms_tests::id;
use kms_tests::memory::{PASSPHRASE, variable};
use tokio::runtime::Runtime;

/// Signatures of each key in each round.
const SIGNATURES: usize = 20;

fn main() {
    let variables = KeyType::ALL.iter().map(|key_type| variable(*key_type));
    environment::take(variables.chain([PASSPHRASE.to_owned()])).unwrap();
    let folder = std::env::args().nth(1).unwrap();
    let folder = Path::new(&folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let backends = runtime.block_on(open(folder));
    let mut keys = runtime.block_on(register(folder, &backends));
    let mut exposed = Vec::new();
    say("done");
    for word in std::io::stdin().lines() {
        match &*word.unwrap() {
            "sign" => sign(&runtime, &keys),
            "expose" => exposed.extend(KeyType::ALL.iter().map(|t| read_in_plain(folder, *t))),
            "drop" => {
                exposed.clear();
                keys.clear();
            }
            other => println!("what is {other}?"),
        }
        say("done");
    }
    drop(exposed);
}

fn file(folder: &Path, key_type: KeyType, form: &str) -> SecretSource {
    let path = folder.join(format!("{key_type}.{form}"));
    SecretSource::File { path, encoding: None, group_readable: false }
}

async fn open(folder: &Path) -> [Arc<dyn Backend>; 3] {
    let passphrase = PassphraseSource::Env { name: PASSPHRASE.into() };
    let [by_key_file, by_passphrase] = [
        ("store", UnlockSource::KeyFile(folder.join("key"))),
        ("passphrase-store", UnlockSource::Passphrase(passphrase)),
    ]
    .map(|(name, unlock)| KeystoreSettings {
        path: folder.join(name),
        unlock,
        create: false,
        if_missing: IfMissing::Fail,
    });
    [
        PreloadSettings {}.open(&OpenContext::new("files", folder)).await.unwrap(),
        by_key_file.open(&OpenContext::new("store", folder)).await.unwrap(),
        by_passphrase.open(&OpenContext::new("passphrase-store", folder)).await.unwrap(),
    ]
}

/// One key of each type from each kind of source.
async fn register(folder: &Path, backends: &[Arc<dyn Backend>; 3]) -> Vec<RegisteredKey> {
    let [files, stores @ ..] = backends;
    let mut keys = Vec::new();
    for key_type in KeyType::ALL {
        let env = SecretSource::Env { name: variable(*key_type), encoding: None };
        let mut sources = vec![("hex", file(folder, *key_type, "hex")), ("env", env)];
        if *key_type == KeyType::Ed25519 {
            sources.push(("pem", file(folder, *key_type, "pem")));
        }
        for (name, source) in sources {
            let mut spec = KeySpec::new(id(&format!("{key_type}/{name}")), *key_type);
            spec.source = Some(source);
            keys.push(files.register(&spec).await.unwrap());
        }
        for store in stores {
            let spec = KeySpec::new(id(key_type.as_str()), *key_type);
            keys.push(store.register(&spec).await.unwrap());
        }
    }
    keys
}

/// Signs with every key and every scheme and runs X25519, on this thread and on those of the runtime.
fn sign(runtime: &Runtime, keys: &[RegisteredKey]) {
    let signing: Vec<_> = keys
        .iter()
        .cycle()
        .take(keys.len() * SIGNATURES)
        .map(|key| {
            let signer = key.signer.clone();
            runtime.spawn(async move { sign_once(&signer) })
        })
        .collect();
    keys.iter().for_each(|key| sign_once(&key.signer));
    runtime.block_on(async {
        for one in signing {
            one.await.unwrap();
        }
    });
}

fn sign_once(signer: &Signer) {
    let Signer::Local(local) = signer else { return };
    for scheme in local.public_key().key_type().schemes() {
        let message = vec![7; scheme.message_len().unwrap_or(100)];
        // Not verified: that would overwrite what signing left on the stack.
        local.sign(*scheme, &message).unwrap();
    }
    if local.public_key().key_type() == X25519Operator.key_type() {
        let mut shared = Vec::with_capacity(X25519Operator.max_output());
        local.execute(&X25519Operator, &[9; 32], &mut shared).unwrap();
    }
}

/// A key that isn't shielded.
fn read_in_plain(folder: &Path, key_type: KeyType) -> Option<SecretKey> {
    let DecodedSecret::Bytes(bytes) = file(folder, key_type, "hex").read().unwrap() else {
        return None;
    };
    Some(SecretKey::from_bytes(key_type, bytes.expose()).unwrap())
}

fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}
