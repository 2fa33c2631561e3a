//! What lies in the memory of a node that holds keys, and what it writes: no secret, in no spelling.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]
#![allow(
    unreachable_pub,
    reason = "nothing of a test is reachable; `pub` says what is for other files"
)]

mod bare;
mod holder;
mod refused;
mod scene;
mod terminal;

use std::time::Duration;

use kms_keys::KeyType;
use kms_tests::memory::{Needle, Search};

use bare::AllBare;
use holder::{Done, Holder};
use scene::Scene;

/// What the node has written by now, and the needles in it, each with the line.
fn written(scene: &Scene, needles: &[Needle]) -> (String, Vec<String>) {
    let search = Search::new(needles);
    let mut found = Vec::new();
    let mut all = String::new();
    for name in ["log", "output", "errors", "terminal"] {
        let text = std::fs::read(scene.folder().join(name)).unwrap();
        let text = String::from_utf8_lossy(&text);
        found.extend(search.of(text.as_bytes()).into_iter().map(|(at, needle)| {
            let from = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            format!("{needle} in {name}: {}", text[from..].lines().next().unwrap_or_default())
        }));
        all.push_str(&text);
    }
    (all, found)
}

/// Every key but `refused` must have signed in every way, and the signatures must be good.
#[track_caller]
fn all_signed(scene: &Scene, done: &Done, refused: &str) {
    let count = |what: String| done.get(&what).copied().unwrap_or_default();
    for (key, key_type) in &scene.declared {
        if key.starts_with(refused) {
            assert!(count(format!("{key} refused")) > 0, "{key}: {done:?}");
            continue;
        }
        for scheme in key_type.schemes() {
            let made = count(format!("{key} {scheme} made"));
            let verified = count(format!("{key} {scheme} verified"));
            assert!(made > verified && verified > 0, "{key} {scheme}: {made}, {verified}");
        }
        let more = match key_type {
            KeyType::Ed25519 => "x25519",
            KeyType::Bls12381 => "aggregate",
            _ => continue,
        };
        assert!(count(format!("{key} {more} verified")) > 0, "{key} {more}: {done:?}");
    }
}

/// Each of these must have been done for each type of key.
#[track_caller]
fn all_done(done: &Done, expected: &[&str]) {
    for key_type in KeyType::ALL {
        for what in expected {
            let what = what.replace("TYPE", key_type.as_str());
            assert!(done.get(&what).is_some_and(|count| *count > 0), "{what}: {done:?}");
        }
    }
}

#[test]
fn no_secret_lies_in_memory_or_logs_while_keys_are_held_and_used() {
    let scene = Scene::new();
    let mut holder = Holder::start(&scene);
    let needles = || scene.needles.iter().cloned().chain(scene.needles_of_stores()).collect();
    let loaded: Vec<Needle> = needles();
    holder.holds_nothing(&loaded, "imported");
    assert_eq!(holder.tell("start"), Done::from([("started".into(), 1)]));
    holder.holds_nothing(&loaded, "loaded");
    for _ in 0..2 {
        all_signed(&scene, &holder.tell("sign"), "none");
        holder.holds_nothing(&loaded, "after signing");
    }
    std::thread::sleep(Duration::from_millis(500));
    holder.holds_nothing(&loaded, "idle");
    let made = holder.tell("make");
    all_done(&made, &["made/TYPE version 1 verified", "made/TYPE version 2 verified"]);
    let all: Vec<Needle> = needles();
    assert!(all.len() > loaded.len());
    holder.holds_nothing(&all, "after making new versions");
    all_done(&holder.tell("delete"), &["spare/TYPE deleted"]);
    holder.holds_nothing(&all, "after scheduling deletions");
    all_signed(&scene, &holder.tell("sign"), "spare/");
    holder.holds_nothing(&all, "after signing again");
    assert_eq!(holder.tell("stop"), Done::from([("stopped".into(), 1)]));
    holder.holds_nothing(&all, "stopped");
    all_done(&holder.tell("destroy"), &["spare/TYPE destroyed"]);
    holder.holds_nothing(&all, "after destroying");
    let left = scene.secrets_of_stores();
    assert!(!left.iter().any(|(name, secret)| name.contains("spare") && !secret.is_empty()));

    scene.write("terminal", holder.shown());
    let (text, found) = written(&scene, &all);
    for expected in
        [" TRACE ", " DEBUG ", "kms_service", "secrets at rest are shielded", "Passphrase: "]
    {
        assert!(text.contains(expected), "{expected} is not in the log");
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_nothing_guards_is_found() {
    let scene = Scene::new();
    let bare = AllBare::lay_out(&scene);
    let mut holder = Holder::start(&scene);
    let needles: Vec<Needle> =
        scene.needles.iter().cloned().chain(scene.needles_of_stores()).collect();
    holder.holds_nothing(&needles, "before anything is held without a guard");
    let held = holder.tell("hold");
    bare.is_found(&held, &Search::new(&needles).of_process(holder.id()));

    let (text, expected) = bare.texts();
    scene.write("errors", &text);
    scene.write("terminal", holder.shown());
    let (_, found) = written(&scene, &needles);
    for needle in expected {
        let needle = format!("{needle} in errors");
        assert!(found.iter().any(|found| found.starts_with(&needle)), "{needle}: not found");
    }
}
