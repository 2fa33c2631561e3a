//! A node that holds keys, on `settings.yaml` in the folder of the first argument. It does what comes
//! through the socket `control` there, one word a line, and says `done` after each, while
//! `tests/memory` looks at its memory and at what it logs (`log`, at the level of `RUST_LOG`).
//!
//! With `refused` as the second argument it tries to start on each of the settings `*.refused.yaml` there
//! instead, and prints why it can't.
//!
//! First it imports a key that comes by standard input into one of its stores, as `kms import` does.
//!
//! Not hardened: others may read its memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test that started it"
)]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use kms_backend::PageRequest;
use kms_backend_keystore::{NewKey, Store, UnlockSource};
use kms_keys::{KeyType, SecretKey};
use kms_secrets::{DecodedSecret, SecretSource, environment, stdin};
use kms_service::{KeyFilter, KmsApi};
use kms_tests::memory::KEY_FILE_STORE;
use kms_tests::{id, kms_of};
use node_example::identity::Identity;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use tracing_subscriber::EnvFilter;

/// How many callers ask at once.
const CALLERS: usize = 32;

/// What each of them asks of each key.
const ROUNDS: usize = 2;

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let folder = Path::new(&folder);
    let settings = NodeSettings::from_file(&folder.join("settings.yaml")).unwrap();
    environment::take(settings.kms.env_names()).unwrap();
    let log = Mutex::new(File::create(folder.join("log")).unwrap());
    let filter = EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log).init();
    if std::env::args().nth(2).as_deref() == Some("refused") {
        return refused(folder);
    }
    import(folder);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut node = Some(runtime.block_on(RunningNode::start(settings)).unwrap());
    let control = UnixStream::connect(folder.join("control")).unwrap();
    let say_done = || (&control).write_all(b"done\n").unwrap();
    let mut exposed = Vec::new();
    say_done();
    for word in BufReader::new(&control).lines() {
        let running = node.as_ref();
        match &*word.unwrap() {
            "sign" => runtime.block_on(sign(running.unwrap())),
            "make" => runtime.block_on(make(running.unwrap())),
            "delete" => runtime.block_on(delete(running.unwrap())),
            "expose" => exposed.extend(KeyType::ALL.iter().map(|t| read_in_plain(folder, *t))),
            "stop" => runtime.block_on(node.take().unwrap().stop()),
            "destroy" => destroy(folder),
            other => panic!("what is {other}?"),
        }
        say_done();
    }
    drop(exposed);
}

/// Tries to start a node on each of the settings `*.refused.yaml`, and prints why it does not start.
fn refused(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for settings in std::fs::read_dir(folder).unwrap() {
        let path = settings.unwrap().path();
        if !path.to_str().unwrap().ends_with(".refused.yaml") {
            continue;
        }
        let started = NodeSettings::from_file(&path)
            .and_then(|settings| runtime.block_on(RunningNode::start(settings)));
        let name = path.display();
        match started {
            Ok(_) => println!("{name} started"),
            Err(refusal) => println!("{name}: {refusal}\n{refusal:?}"),
        }
    }
}

/// The store that a key file opens.
fn store(folder: &Path) -> Store {
    let unlock = UnlockSource::KeyFile("key".into()).read(folder).unwrap();
    Store::open(&folder.join(KEY_FILE_STORE), &unlock).unwrap()
}

fn import(folder: &Path) {
    let text = stdin::read(64).unwrap();
    let key = SecretKey::from_hex(KeyType::Secp256k1, text.expose()).unwrap();
    let new = NewKey::new(id("imported"), KeyType::Secp256k1);
    store(folder).import(&new, &key).unwrap();
}

/// Has every key sign with every scheme and run X25519, asked by many at once.
async fn sign(node: &RunningNode) {
    let kms = Arc::new(kms_of::<Identity>(node).await);
    let callers = (0..CALLERS).map(|_| tokio::spawn(sign_with_all(Arc::clone(&kms))));
    for caller in join_all(callers).await {
        caller.unwrap();
    }
}

async fn sign_with_all(kms: Arc<KmsApi>) {
    let all = PageRequest::first(usize::MAX);
    let keys = kms.list(KeyFilter::default(), all).await.unwrap().keys;
    for key in keys.iter().cycle().take(ROUNDS * keys.len()) {
        for scheme in key.key_type.schemes() {
            // Some keys may be about to be deleted, and all else is right.
            let message = vec![7; scheme.message_len().unwrap_or(100)];
            drop(kms.sign(&key.id, message.clone()).scheme(*scheme).await);
            drop(kms.sign_many(&key.id, Some(*scheme), vec![message; 3]).await);
        }
        match key.key_type {
            KeyType::Ed25519 => drop(kms.execute(&key.id, "x25519", [9; 32]).await),
            KeyType::Bls12381 => {
                drop(kms.sign_aggregate(std::slice::from_ref(&key.id), "message").await)
            }
            _ => {}
        }
    }
}

/// Makes new versions of the keys that were made when the node started.
async fn make(node: &RunningNode) {
    let kms = kms_of::<Identity>(node).await;
    for key_type in KeyType::ALL {
        let key = id(&format!("made/{key_type}"));
        kms.rotate(&key).await.unwrap();
        for version in [1, 2] {
            kms.sign(&key, "message").version(version).await.unwrap();
        }
    }
}

/// Schedules the deletion of what is there for that.
async fn delete(node: &RunningNode) {
    let kms = kms_of::<Identity>(node).await;
    for key_type in KeyType::ALL {
        kms.schedule_delete(&id(&format!("spare/{key_type}")), Duration::ZERO).await.unwrap();
    }
}

/// Destroys it.
fn destroy(folder: &Path) {
    let mut store = store(folder);
    for key_type in KeyType::ALL {
        store.destroy(&id(&format!("spare/{key_type}"))).unwrap();
    }
    store.rewrite().unwrap();
}

/// A key that isn't shielded, and is logged, as a correct program never does.
fn read_in_plain(folder: &Path, key_type: KeyType) -> SecretKey {
    let path = folder.join(format!("{key_type}.hex"));
    let source = SecretSource::File { path, encoding: None, group_readable: false };
    let DecodedSecret::Bytes(bytes) = source.read().unwrap() else {
        panic!("hex is no PEM");
    };
    tracing::trace!("{:?}", bytes.expose());
    SecretKey::from_bytes(key_type, bytes.expose()).unwrap()
}
