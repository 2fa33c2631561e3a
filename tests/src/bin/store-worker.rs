//! Works on a store until it is killed, and says on standard output what it begins and what was
//! acknowledged: `begin ID`, then `done ID VERSION STATE PUBLIC_KEY`.
//!
//! With `hold` as its second argument it opens the store, says `ready`, and waits.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test that started it")]

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use kms_backend_keystore::{NewKey, Store, StoredKey, StoredState};
use kms_keys::KeyType;
use kms_tests::{id, key_file, open_store};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (mut store, opens) = open_store(Path::new(&arguments[1])).unwrap();
    say("ready");
    if arguments[2] == "hold" {
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let run: u64 = arguments[2].parse().unwrap();
    work(&mut store, run, opens);
}

/// Does a little of everything, over and over.
fn work(store: &mut Store, run: u64, mut opens: u8) {
    for round in 0_u64.. {
        let name = format!("run-{run:04}/key-{round:06}");
        let key = id(&name);
        let key_type = KeyType::ALL[usize::try_from(round % 3).unwrap()];
        let mut step = |change: &mut dyn FnMut(&mut Store) -> StoredKey| {
            say(&format!("begin {name}"));
            let done = change(store);
            let state = match done.state {
                StoredState::Active => "active",
                StoredState::Disabled => "disabled",
                StoredState::PendingDeletion { .. } => "pending",
                _ => "destroyed",
            };
            say(&format!("done {name} {} {state} {}", done.version, done.public_key));
        };
        step(&mut |store| store.generate(&[NewKey::new(key.clone(), key_type)]).unwrap().remove(0));
        step(&mut |store| store.rotate(&key).unwrap());
        step(&mut |store| store.disable(&key).unwrap());
        if round % 3 == 0 {
            step(&mut |store| store.protect(&key, false).unwrap());
            step(&mut |store| store.schedule_delete(&key, Duration::ZERO).unwrap());
            step(&mut |store| {
                let destroyed = store.destroy(&key).unwrap();
                store.rewrite().unwrap();
                destroyed
            });
        }
        if round % 4 == 1 {
            let next = 15 - opens;
            store.change_unlocker(&key_file(opens), &key_file(next)).unwrap();
            opens = next;
        }
        if round % 5 == 2 {
            store.rekey(&key_file(opens)).unwrap();
            store.rewrite().unwrap();
        }
    }
}

/// A line in one write, so that a kill never leaves half of it.
fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}
