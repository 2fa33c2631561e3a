//! Two processes that make the same keys in one token at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, ObjectClass};
use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, IfMissing, KeySpec, OpenContext, Request,
    Signer,
};
use kms_backend_pkcs11::Pkcs11Settings;
use kms_keys::{KeyId, KeyType};
use kms_peers::{SoftHsm, write_secret};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "support/alone.rs"]
mod alone;
#[path = "support/other.rs"]
mod other;
#[path = "support/stranger.rs"]
mod stranger;
use other::Other;

const ROUNDS: u64 = 60;

async fn open(token: &str, folder: &Path) -> Arc<dyn Backend> {
    let remote = json!({ "retry": { "first": "20ms", "limit": 8 } });
    open_with(&SoftHsm::module(), token, folder, remote).await
}

async fn open_with(module: &Path, token: &str, folder: &Path, remote: Value) -> Arc<dyn Backend> {
    let json = json!({
        "module": module,
        "token": { "label": token },
        "pin": { "file": "pin" },
        "remote": remote,
    });
    let settings: Pkcs11Settings = serde_json::from_value(json).unwrap();
    settings.open(&OpenContext::new("hsm", folder)).await.unwrap()
}

/// Has the key of this round made after a moment, and signs with it: its public key, or nothing when somebody
/// else was in the way and another try could help.
async fn make(hsm: &dyn Backend, round: u64, wait: u64, if_missing: IfMissing) -> Option<String> {
    let key_type = if round.is_multiple_of(2) { KeyType::Ed25519 } else { KeyType::Secp256k1 };
    let mut spec = KeySpec::new(KeyId::new(format!("round/{round}")).unwrap(), key_type);
    spec.if_missing = if_missing;
    tokio::time::sleep(Duration::from_millis(wait)).await;
    let made = match hsm.register(&spec).await {
        Ok(made) => made,
        Err(error) if error.is_retryable() => {
            // Said for when nobody has one.
            eprintln!("round {round}: {}", ErrorChain(&error));
            return None;
        }
        Err(error) => panic!("round {round}: {error:?}"),
    };
    assert_eq!((made.info.version, made.older.len()), (1, 0));
    let Signer::Remote(signer) = &made.signer else { panic!() };
    let scheme = key_type.default_scheme();
    let signature = signer.sign(scheme, b"m").await.unwrap();
    made.info.public_key.verify(scheme, b"m", &signature).unwrap();
    Some(made.info.public_key.to_hex())
}

/// The key of this round as a node's start makes it: with the settings that are the default, in 30 s.
async fn start(token: &str, folder: &Path, round: u64) -> Option<String> {
    let hsm = open_with(&SoftHsm::module(), token, folder, json!({})).await;
    let until = Instant::now() + Duration::from_secs(30);
    let made = Request::until(until).scope(make(&*hsm, round, 0, IfMissing::Generate)).await;
    hsm.close().await;
    made
}

/// The key of this round by a module that hangs when it signs, and who waits for it.
async fn hang(token: &str, folder: &Path, round: u64) -> Option<String> {
    let module = folder.join("libfaulty.so");
    let hsm = open_with(&module, token, folder, json!({ "timeout": "2m" })).await;
    let made = make(&*hsm, round, 0, IfMissing::Generate).await;
    hsm.close().await;
    made
}

/// Makes what it is told to, until it is told nothing more.
async fn other_process(token: &str, folder: &Path) {
    let hsm = open(token, folder).await;
    for order in other::orders() {
        let begins = |word| order.strip_prefix(word).map(|round| round.parse().unwrap());
        let made = if let Some(round) = begins("start ") {
            start(token, folder, round).await
        } else if let Some(round) = begins("hang ") {
            hang(token, folder, round).await
        } else {
            let (round, wait) = order.split_once(' ').unwrap();
            let (round, wait) = (round.parse().unwrap(), wait.parse().unwrap());
            make(&*hsm, round, wait, IfMissing::Generate).await
        };
        other::answer(&made.unwrap_or_default());
    }
    hsm.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn two_processes_that_make_a_key_at_once_give_out_one() {
    if let Some((token, folder)) = Other::here() {
        return other_process(&token, folder.as_ref()).await;
    }
    let (_alone, token, folder) = (alone::Alone::wait(), SoftHsm::start(), TempDir::new().unwrap());
    write_secret(&folder.path().join("pin"), SoftHsm::PIN);

    let name = "two_processes_that_make_a_key_at_once_give_out_one";
    let mut other = Other::start(name, &token, folder.path());
    let hsm = open(token.label(), folder.path()).await;
    let (mut given, mut late) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        // From at once to when the first has long made it: each may find the other at any step.
        let wait = round * 13 % 149;
        let (here, there) = if round % 4 < 2 { (wait, 0) } else { (0, wait) };
        other.order(&format!("{round} {there}"));
        let here = make(&*hsm, round, here, IfMissing::Generate).await;
        let there = Some(other.answer()).filter(|key| !key.is_empty());
        late += usize::from(here.is_none()) + usize::from(there.is_none());
        if let (Some(here), Some(there)) = (&here, &there) {
            assert_eq!(here, there, "round {round}");
        }
        given.push(here.or(there).unwrap_or_else(|| panic!("round {round}: nobody has a key")));
    }
    other.end();
    println!("{ROUNDS} rounds, {late} to be tried again");

    // What was given out is what stays.
    for (round, given) in (0..).zip(given) {
        assert_eq!(make(&*hsm, round, 0, IfMissing::Fail).await, Some(given), "round {round}");
    }
    let absent = KeySpec::new(KeyId::new("round/none").unwrap(), KeyType::Ed25519);
    let refused = hsm.register(&absent).await.unwrap_err();
    assert!(matches!(refused, BackendError::NotFound(_)), "{refused:?}");
    hsm.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
async fn what_a_maker_left_that_was_killed_keeps_no_node_from_starting() {
    let name = "what_a_maker_left_that_was_killed_keeps_no_node_from_starting";
    if let Some((token, folder)) = Other::here() {
        return other_process(&token, folder.as_ref()).await;
    }
    let (_alone, token, folder) = (alone::Alone::wait(), SoftHsm::start(), TempDir::new().unwrap());
    let (label, module, folder) = (token.label(), SoftHsm::module(), folder.path());
    write_secret(&folder.join("pin"), SoftHsm::PIN);
    let _ = SoftHsm::faulty_module(folder);
    // The module is in use from here on.
    start(label, folder, 2).await.unwrap();
    std::fs::write(folder.join("hang"), "").unwrap();

    // Both have made what is to be a key, and are about to try it.
    let [mut killed, mut held, mut other] = [(); 3].map(|()| Other::start(name, &token, folder));
    killed.order("hang 0");
    held.order("hang 1");
    for round in ["round/0", "round/1"] {
        let private = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Label(round.as_bytes().to_vec()),
        ];
        while stranger::with(&module, &token, |session| session.find_objects(&private)).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    killed.kill();

    // At once, and each within its start.
    other.order("start 0");
    let (first, second) = tokio::join!(start(label, folder, 0), start(label, folder, 1));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(other.answer(), first);

    // Who was only slow has nothing left to make another of.
    std::fs::remove_file(folder.join("hang")).unwrap();
    assert_eq!(held.answer(), second);
    for (round, key) in [first, second].into_iter().enumerate() {
        other.order(&format!("start {round}"));
        assert_eq!(other.answer(), key, "round {round}");
    }
    held.end();
    other.end();
}
