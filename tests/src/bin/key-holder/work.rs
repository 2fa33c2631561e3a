//! What a node does with its keys. Everything is counted where it succeeded, and must succeed where it
//! can.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kms_backend::{KeyInfo, KeyState, PageRequest};
use kms_keys::{KeyType, PublicKey, SigningScheme};
use kms_service::{KeyFilter, KmsApi, KmsError};
use kms_tests::{id, kms_of, verify};
use node_example::identity::Identity;
use node_example::running::RunningNode;

use crate::Done;
use crate::imports::store;

/// How many callers ask at once.
const CALLERS: usize = 32;

/// The base point of X25519 (RFC 7748): the operator gives the public key with it.
const BASE_POINT: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

fn count(done: &mut Done, what: String) {
    *done.entry(what).or_default() += 1;
}

/// Has every key sign with every scheme and run X25519, asked by many at once. The first caller checks
/// what it gets.
pub async fn sign(node: &RunningNode) -> Done {
    let kms = Arc::new(kms_of::<Identity>(node).await);
    let callers = (0..CALLERS).map(|caller| tokio::spawn(use_all(Arc::clone(&kms), caller == 0)));
    let mut all = Done::new();
    for done in join_all(callers).await {
        for (what, count) in done.unwrap() {
            *all.entry(what).or_default() += count;
        }
    }
    all
}

async fn use_all(kms: Arc<KmsApi>, checks: bool) -> Done {
    let mut done = Done::new();
    let all = PageRequest::first(1024);
    for key in kms.list(KeyFilter::default(), all).await.unwrap().keys {
        if key.state == KeyState::Active {
            use_key(&kms, &key, checks, &mut done).await;
        } else {
            let refused = kms.sign(&key.id, "message").await.unwrap_err();
            assert!(matches!(refused, KmsError::PendingDeletion { .. }), "{refused:?}");
            count(&mut done, format!("{} refused", key.id));
        }
    }
    done
}

async fn use_key(kms: &KmsApi, key: &KeyInfo, checks: bool, done: &mut Done) {
    let KeyInfo { id, public_key, .. } = key;
    for scheme in key.key_type.schemes() {
        let message = vec![7; scheme.message_len().unwrap_or(100)];
        let one = kms.sign(id, message.clone()).scheme(*scheme).await.unwrap();
        let many = kms.sign_many(id, Some(*scheme), vec![message.clone(); 3]).await.unwrap();
        for signature in many.into_iter().map(Result::unwrap).chain([one]) {
            count(done, format!("{id} {scheme} made"));
            if checks {
                public_key.verify(*scheme, &message, &signature).unwrap();
                count(done, format!("{id} {scheme} verified"));
            }
        }
    }
    match public_key {
        PublicKey::Ed25519(public_key) => {
            let shared = kms.execute(id, "x25519", BASE_POINT).await.unwrap();
            assert_eq!(shared.expose(), public_key.to_x25519());
            count(done, format!("{id} x25519 verified"));
        }
        PublicKey::Bls12381(_) => {
            let sum = kms.sign_aggregate(std::slice::from_ref(id), "message").await.unwrap();
            if checks {
                public_key.verify(SigningScheme::BlsPop, b"message", &sum.signature).unwrap();
                count(done, format!("{id} aggregate verified"));
            }
        }
        _ => {}
    }
}

/// Makes new versions of the keys that were made when the node started, and has both sign.
pub async fn make(node: &RunningNode) -> Done {
    let kms = kms_of::<Identity>(node).await;
    let mut done = Done::new();
    for key_type in KeyType::ALL {
        let key = id(&format!("made/{key_type}"));
        let first = kms.public_key(&key).await.unwrap();
        let second = kms.rotate(&key).await.unwrap().public_key;
        for (version, public_key) in [(1, first), (2, second)] {
            let signature = kms.sign(&key, "message").version(version).await.unwrap();
            verify(&public_key, b"message", &signature);
            count(&mut done, format!("{key} version {version} verified"));
        }
    }
    done
}

/// Schedules the deletion of what is there for that.
pub async fn delete(node: &RunningNode) -> Done {
    let kms = kms_of::<Identity>(node).await;
    let mut done = Done::new();
    for key_type in KeyType::ALL {
        let key = id(&format!("spare/{key_type}"));
        let info = kms.schedule_delete(&key, Duration::ZERO).await.unwrap();
        assert!(matches!(info.state, KeyState::PendingDeletion { .. }), "{info:?}");
        count(&mut done, format!("{key} deleted"));
    }
    done
}

/// Stops the node, after which nobody gets a signature.
pub async fn stop(node: RunningNode) -> Done {
    let kms = kms_of::<Identity>(&node).await.with_deadline(Duration::from_millis(100));
    let key = id("ed25519/hex");
    kms.sign(&key, "message").await.unwrap();
    node.stop().await;
    kms.sign(&key, "message").await.unwrap_err();
    Done::from([("stopped".into(), 1)])
}

/// Destroys what was deleted. No node has the store open any more.
pub fn destroy(folder: &Path) -> Done {
    let mut store = store(folder);
    let mut done = Done::new();
    for key_type in KeyType::ALL {
        let key = id(&format!("spare/{key_type}"));
        store.destroy(&key).unwrap();
        store.export(&key, None).unwrap_err();
        count(&mut done, format!("{key} destroyed"));
    }
    store.rewrite().unwrap();
    done
}
