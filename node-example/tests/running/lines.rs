//! The lines of a run, in both forms.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Folder, KEYS, errors_after_start, lines_of, succeeds};

fn fields(line: &Value) -> BTreeSet<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn json() {
    let output = succeeds(Folder::good().command_for(5).arg("--json"));
    assert_eq!(errors_after_start(&output.stderr), "");
    let lines = lines_of(&output);
    assert_eq!(lines.len(), 7);

    let keys = KEYS
        .iter()
        .map(|key| json!({ "id": key.id, "type": key.key_type, "public_key": key.public }));
    assert_eq!(lines[0], json!({ "event": "ready", "keys": keys.collect::<Vec<_>>() }));

    let mut hashes = BTreeSet::new();
    for (index, line) in lines[1..6].iter().enumerate() {
        let expected = ["event", "slot", "hash", "proposer", "attesters", "verified", "micros"];
        assert_eq!(fields(line), expected.into());
        assert_eq!(line["event"], "slot");
        assert_eq!(line["slot"], index + 1);
        assert_eq!(line["proposer"], "proposer/main");
        assert_eq!(line["attesters"], 4);
        assert_eq!(line["verified"], true);
        assert!(line["micros"].is_u64());
        let hash = line["hash"].as_str().unwrap();
        assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
        assert!(hashes.insert(hash.to_owned()), "every block has its own hash");
    }
    assert_eq!(lines[6], json!({ "event": "stopped", "slots": 5 }));
}

/// The fields stand in the order that is documented, for people who read the lines.
#[test]
fn order_of_json_fields() {
    let output = succeeds(Folder::good().command_for(1).arg("--json"));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let ready = r#"{"event":"ready","keys":[{"id":"attester/0","type":"bls12-381","public_key":""#;
    assert!(lines[0].starts_with(ready), "{text}");
    assert!(lines[1].starts_with(r#"{"event":"slot","slot":1,"hash":""#), "{text}");
    assert!(
        lines[1]
            .contains(r#"","proposer":"proposer/main","attesters":4,"verified":true,"micros":"#),
        "{text}"
    );
    assert_eq!(lines[2], r#"{"event":"stopped","slots":1}"#);
}

#[test]
fn text() {
    let output = succeeds(&mut Folder::good().command_for(3));
    assert_eq!(errors_after_start(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1 + KEYS.len() + 3 + 1, "{text}");
    assert_eq!(lines[0], "ready; this node's keys:");
    for (key, line) in KEYS.iter().zip(&lines[1..8]) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, [key.id, key.key_type, key.public]);
    }
    for (slot, line) in (1..).zip(&lines[8..11]) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[..2], ["slot", &slot.to_string()]);
        assert!(line.contains("signed by proposer/main, attested by 4 keys, verified"), "{line}");
        assert!(!line.contains("NOT"), "{line}");
    }
    assert_eq!(lines[11], "stopped after 3 slots");
}

#[test]
fn the_number_of_slots_is_what_was_asked_for() {
    for slots in [1, 2, 9] {
        let lines = lines_of(&succeeds(Folder::good().command_for(slots).arg("--json")));
        let numbers = lines.iter().filter_map(|line| line["slot"].as_u64());
        assert_eq!(numbers.collect::<Vec<_>>(), (1..=slots).collect::<Vec<_>>());
        assert_eq!(lines.last().unwrap()["slots"], slots);
    }
}

/// Block 1 has no parent and the same slot in every run, so every node agrees on its hash: SHA-256
/// of the slot (8 bytes, big-endian) and 32 zero bytes.
#[test]
fn the_first_hash() {
    let lines = Folder::good().runs_with(&[]);
    assert_eq!(
        lines[1]["hash"],
        "3d0ad12b8ee8928edf248ca91ca55600fb383f07c32bff1d6dec472b25cf59a7"
    );
}
