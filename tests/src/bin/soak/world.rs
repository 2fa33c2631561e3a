//! What everybody in the soak shares.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kms_backend_keystore::{NewKey, Store, StoreError, UnlockSecret};
use kms_keys::{KeyId, KeyType, PublicKey, Signature};
use kms_secrets::SecretBytes;
use kms_service::KmsError;
use kms_tests::{id, write_secret};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::RwLock;

use crate::node::{DEADLINE, Node};

/// How many reasons why the soak failed are told.
const TOLD: usize = 20;

/// How many keys are taken in and out of use.
pub(crate) const KEPT: usize = 6;

/// Which of the nodes somebody asks.
pub(crate) type Whose = fn(&World) -> &Node;

pub(crate) struct World {
    folder: TempDir,
    pub(crate) seed: u64,
    /// Keys of all types in all three places.
    pub(crate) mixed: Node,
    /// A store, and keys that come and go.
    pub(crate) store: Node,
    /// The same keys as the first has, and some that are taken in and out of use, in a node that is never
    /// started again: what a service piles up shows.
    pub(crate) steady: Node,
    /// What everybody who asks for something holds; who wants quiet takes it alone.
    pub(crate) floor: RwLock<()>,
    /// How often the store was begun anew.
    pub(crate) eras: AtomicU64,
    pub(crate) seen: Seen,
    over: AtomicBool,
    wrong: Mutex<(usize, Vec<String>)>,
}

/// Things that must have happened, or the soak has tested nothing.
#[derive(Default)]
pub(crate) struct Seen {
    /// Requests that the breaker has refused.
    pub(crate) breaker_open: AtomicU64,
    /// Signatures from elsewhere after that.
    pub(crate) breaker_closed: AtomicU64,
    /// Signatures of others in the middle of a flood.
    pub(crate) served_in_floods: AtomicU64,
    /// Changes of keys, answered.
    pub(crate) disabled: AtomicU64,
    pub(crate) registered: AtomicU64,
    /// Times when every count was compared.
    pub(crate) audits: AtomicU64,
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        secret_file(path, "unlock", UNLOCK);
        new_store(&path.join(CHANGING));
        new_store(&path.join(STEADY));
        for (byte, name) in (11..).zip(LOCAL) {
            secret_file(path, name, &format!("{byte:02x}").repeat(32));
        }
        let lasting = || BTreeSet::from_iter(mixed_keys().into_iter().map(|(name, _)| id(&name)));
        let mixed = Node::start("mixed", mixed_section(), lasting(), path).await;
        let store = Node::start("store", store_section(), [], path).await;
        let steady = Node::start("steady", steady_section(), lasting(), path).await;
        Self {
            folder,
            seed,
            mixed,
            store,
            steady,
            floor: RwLock::default(),
            eras: AtomicU64::default(),
            seen: Seen::default(),
            over: AtomicBool::default(),
            wrong: Mutex::default(),
        }
    }

    /// Begins the store anew. Its node must have stopped.
    pub(crate) fn forget_store(&self) {
        fs::remove_file(self.folder.path().join(CHANGING)).unwrap();
        new_store(&self.folder.path().join(CHANGING));
        self.eras.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn nodes(&self) -> [&Node; 3] {
        [&self.mixed, &self.store, &self.steady]
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Something that must never be.
    pub(crate) fn wrong(&self, what: impl Into<String>) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.0 += 1;
        if wrong.1.len() < TOLD {
            let what = what.into();
            println!("WRONG: {what}");
            wrong.1.push(what);
        }
    }

    /// How much was wrong, and the first of it.
    pub(crate) fn all_wrong(&self) -> (usize, Vec<String>) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a request to a node that is restarted and flooded may be refused with. Others are wrong.
    pub(crate) fn tolerate(&self, who: &str, error: &KmsError) {
        match error {
            KmsError::Stopped
            | KmsError::Overloaded { .. }
            | KmsError::DeadlineExceeded
            | KmsError::AnswerLost => {}
            other => self.wrong(format!("{who}: {other:?}")),
        }
    }

    /// Whether it is the key's signature of that message; that it isn't is wrong.
    pub(crate) fn verify(
        &self,
        node: &Node,
        key: &PublicKey,
        message: &[u8],
        signature: &Signature,
    ) {
        match key.verify(key.key_type().default_scheme(), message, signature) {
            Ok(()) => node.tally.verified(1),
            Err(error) => self.wrong(format!("a signature of {key} is not: {error}")),
        }
    }
}

/// The file of the store that is begun anew, and what opens it.
const CHANGING: &str = "changing-store";
/// That of the node that is never started again.
const STEADY: &str = "steady-store";
const UNLOCK: &str = "nobody else opens the stores of the soak by this";

const LOCAL: [&str; 5] =
    ["file-ed25519", "file-secp256k1", "file-bls-0", "file-bls-1", "file-bls-2"];

/// A store with the keys that are taken in and out of use: their deletion may be scheduled.
fn new_store(path: &Path) {
    let unlock = UnlockSecret::KeyFile(SecretBytes::from_slice(UNLOCK.as_bytes()));
    let mut tries = 0;
    let store = loop {
        match Store::create(path, &unlock) {
            // Work that was given up, on a slow disk.
            Err(StoreError::InUse { .. }) if tries < 100 => {
                tries += 1;
                thread::sleep(Duration::from_millis(100));
            }
            created => break created.unwrap(),
        }
    };
    let keys: Vec<_> = kept().map(|(id, key_type)| NewKey::new(id, key_type)).collect();
    store.generate(&keys).unwrap();
    for (id, _) in kept() {
        store.protect(&id, false).unwrap();
    }
}

fn kept() -> impl Iterator<Item = (KeyId, KeyType)> {
    (0..KEPT).map(|number| (id(&format!("kept/{number}")), KeyType::ALL[number % 3]))
}

fn secret_file(folder: &Path, name: &str, text: &str) {
    write_secret(&folder.join(name), text);
}

/// Each lasting key, and its section.
fn mixed_keys() -> Vec<(String, Value)> {
    let mut keys: Vec<(String, Value)> = Vec::new();
    for (name, key_type) in LOCAL.into_iter().zip([
        KeyType::Ed25519,
        KeyType::Secp256k1,
        KeyType::Bls12381,
        KeyType::Bls12381,
        KeyType::Bls12381,
    ]) {
        let section = json!({
            "id": name, "type": key_type.as_str(), "backend": "file", "source": { "file": name }
        });
        keys.push((name.to_owned(), section));
    }
    for key_type in KeyType::ALL {
        for place in ["store", "remote"] {
            let name = format!("{place}-{key_type}");
            let section = json!({ "id": name, "type": key_type.as_str(), "backend": place });
            keys.push((name, section));
        }
    }
    keys
}

fn mixed_section() -> Value {
    let keys: Vec<Value> = mixed_keys().into_iter().map(|(_, section)| section).collect();
    json!({
        "backends": {
            "file": { "type": "preload" },
            "store": store_backend("lasting-store"),
            "remote": { "type": "remote" }
        },
        "keys": keys,
        "limits": { "deadline": DEADLINE, "queue": 128 }
    })
}

fn steady_section() -> Value {
    let mut section = mixed_section();
    section["backends"]["store"] = store_backend("steady-lasting-store");
    section["backends"]["kept"] = store_backend(STEADY);
    for mut key in kept_keys() {
        key["backend"] = json!("kept");
        section["keys"].as_array_mut().unwrap().push(key);
    }
    section
}

fn store_section() -> Value {
    json!({
        "backends": { "store": store_backend(CHANGING) },
        "keys": kept_keys(),
        "limits": { "deadline": DEADLINE }
    })
}

fn kept_keys() -> Vec<Value> {
    let section = |(id, key_type): (KeyId, KeyType)| json!({ "id": id.as_str(), "type": key_type.as_str(), "if_missing": "fail" });
    kept().map(section).collect()
}

fn store_backend(path: &str) -> Value {
    json!({
        "type": "keystore", "path": path, "create": true, "if_missing": "generate",
        "unlock": { "key_file": "unlock" }
    })
}
