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

mod holder;
mod refused;
mod scene;

use std::collections::BTreeSet;

use kms_keys::KeyType;
use kms_tests::memory::{Needle, Search};

use holder::Holder;
use scene::Scene;

/// What the node has written by now, and the needles in it.
fn written(scene: &Scene, needles: &[Needle]) -> (String, BTreeSet<String>) {
    let search = Search::new(needles);
    let mut found = BTreeSet::new();
    let mut all = String::new();
    for name in ["log", "output", "errors"] {
        let text = std::fs::read_to_string(scene.folder().join(name)).unwrap();
        found.extend(search.of(text.as_bytes(), |at| {
            let from = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            format!("{name}: {}", text[from..].lines().next().unwrap_or_default())
        }));
        all.push_str(&text);
    }
    (all, found)
}

#[test]
fn no_secret_lies_in_memory_or_logs_while_keys_are_held_and_used() {
    let scene = Scene::new();
    let mut holder = Holder::start(&scene);
    let needles = || scene.needles.iter().cloned().chain(scene.needles_of_stores()).collect();
    let loaded: Vec<Needle> = needles();
    holder.holds_nothing(&loaded, "loaded");
    for _ in 0..2 {
        holder.tell("sign");
        holder.holds_nothing(&loaded, "after signing");
    }
    holder.tell("make");
    let all: Vec<Needle> = needles();
    assert!(all.len() > loaded.len());
    holder.holds_nothing(&all, "after making new versions");
    holder.tell("delete");
    holder.holds_nothing(&all, "after scheduling deletions");
    holder.tell("sign");
    holder.holds_nothing(&all, "after signing again");
    holder.tell("stop");
    holder.holds_nothing(&all, "stopped");
    holder.tell("destroy");
    holder.holds_nothing(&all, "after destroying");

    let (text, found) = written(&scene, &all);
    for expected in [" TRACE ", " DEBUG ", "kms_service", "secrets at rest are shielded"] {
        assert!(text.contains(expected), "{expected} is not in the log");
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_key_that_is_not_shielded_is_found() {
    let scene = Scene::new();
    let mut holder = Holder::start(&scene);
    holder.tell("expose");
    let needles = &scene.needles;
    let (found, _) = Search::new(needles).of_process(holder.id());
    let (_, logged) = written(&scene, needles);
    for key_type in KeyType::ALL {
        let name = format!("hex {key_type} forwards/1 ");
        assert!(found.iter().any(|found| found.starts_with(&name)), "{name}: {found:?}");
        assert!(logged.iter().any(|found| found.starts_with(&name)), "{name}: {logged:?}");
    }
    assert!(found.iter().any(|found| found.starts_with("hex ed25519 scalar")), "{found:?}");
    assert!(found.iter().any(|found| found.starts_with("hex ed25519 hash")), "{found:?}");
}
