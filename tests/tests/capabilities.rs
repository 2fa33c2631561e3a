//! The README's table of what each backend can do is what the backends themselves say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use std::path::Path;

use kms_backend::{BackendSettings, Capabilities, Operation, SourceUse};
use kms_backends::AnyBackend;
use kms_keys::{KeyType, SigningScheme};
use serde_json::{Value, json};

/// A section of each type, as short as it may be.
fn sections() -> Vec<Value> {
    vec![
        json!({ "type": "preload" }),
        json!({ "type": "keystore", "path": "keys", "unlock": { "key_file": "key" } }),
        json!({
            "type": "pkcs11", "module": "m.so", "token": { "label": "t" }, "pin": { "file": "pin" }
        }),
        json!({ "type": "aws", "region": "eu-west-1" }),
        json!({
            "type": "vault", "address": "https://vault:8200", "auth": { "token": { "file": "t" } }
        }),
    ]
}

const OPERATIONS: [Operation; 9] = [
    Operation::Generate,
    Operation::Derive,
    Operation::Rotate,
    Operation::Disable,
    Operation::Enable,
    Operation::ScheduleDelete,
    Operation::CancelDelete,
    Operation::Destroy,
    Operation::Execute,
];

fn table() -> String {
    let backends = sections().into_iter().map(|section| {
        let name = section["type"].as_str().unwrap().to_owned();
        let backend: AnyBackend = serde_json::from_value(section).unwrap();
        (name, backend.capabilities())
    });
    let backends: Vec<(String, Capabilities)> = backends.collect();
    let mut rows = vec![
        row("", backends.iter().map(|(name, _)| format!("`{name}`"))),
        row("---", backends.iter().map(|_| "---".to_owned())),
    ];
    for key_type in KeyType::ALL {
        let schemes = |can: &Capabilities| {
            let names = can.schemes(*key_type).iter().copied().map(SigningScheme::as_str);
            names.collect::<Vec<_>>().join(", ")
        };
        rows.push(row(key_type.as_str(), backends.iter().map(|(_, can)| schemes(can))));
    }
    for operation in OPERATIONS {
        let can = |can: &Capabilities| can.operations.contains(&operation).then_some("yes");
        let cells = backends.iter().map(|(_, backend)| can(backend).unwrap_or("").to_owned());
        rows.push(row(&format!("{operation} keys").replace("of keys", "of a key"), cells));
    }
    rows.push(row("limits", backends.iter().map(|(_, can)| limits(can))));
    rows.concat()
}

/// What a key needs there, and how long what it signs may be.
fn limits(can: &Capabilities) -> String {
    let source = match can.source {
        SourceUse::Required => "each key needs a `source`",
        SourceUse::Optional => "a key may have a `source`: it is imported",
        SourceUse::Refused => "no key has a `source`",
        other => panic!("{other:?} is not described"),
    };
    let messages = can.keys.iter().filter_map(|key| {
        let bytes = key.message_bytes.as_ref()?;
        Some(format!("{} messages have {} to {} bytes", key.key_type, bytes.start(), bytes.end()))
    });
    [source.to_owned()].into_iter().chain(messages).collect::<Vec<_>>().join("; ")
}

fn row(first: &str, cells: impl Iterator<Item = String>) -> String {
    let cells = cells.map(|cell| if cell.is_empty() { " |".into() } else { format!(" {cell} |") });
    let first = if first.is_empty() { "|".to_owned() } else { format!("| {first} ") };
    format!("{first}|{}\n", cells.collect::<String>()).replace("||", "| |")
}

#[test]
fn the_readme_says_what_backends_can_do() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (begin, end) = ("<!-- what backends can do -->\n", "<!-- until here -->");
    let said = readme.split(begin).nth(1).and_then(|rest| rest.split(end).next());
    let said = said.unwrap_or_else(|| panic!("the README has no lines {begin}{end}"));
    assert!(said == table(), "the README's table should be\n\n{}", table());
}
