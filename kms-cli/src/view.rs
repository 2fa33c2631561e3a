//! Keys and masters as they are shown: as rows of tables for people, as JSON for programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use comfy_table::{Table, presets};
use kms_backend_keystore::{MasterKind, StoredKey, StoredMaster, StoredState};
use serde_json::{Value, json};

/// The last second of the year 9999, the last that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// Seconds since 1970 as RFC 3339 in UTC.
pub(crate) fn time(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A table without lines.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A state in one word.
pub(crate) fn state(state: StoredState) -> &'static str {
    match state {
        StoredState::Active => "active",
        StoredState::Disabled => "disabled",
        StoredState::PendingDeletion { .. } => "pending-deletion",
        StoredState::Destroyed { .. } => "destroyed",
        _ => "unknown",
    }
}

/// A state with its time, if it has one.
pub(crate) fn state_and_time(of: StoredState) -> String {
    match of {
        StoredState::PendingDeletion { not_before } => {
            format!("pending deletion, not before {}", time(not_before))
        }
        StoredState::Destroyed { at } => format!("destroyed {}", time(at)),
        of => state(of).into(),
    }
}

/// All that may be known of a version of a key.
pub(crate) fn key_json(key: &StoredKey) -> Value {
    let derivation = key.derivation.as_ref();
    let mut object = json!({
        "id": key.id.as_str(),
        "type": key.key_type.as_str(),
        "version": key.version,
        "public_key": key.public_key,
        "state": state(key.state),
        "created": time(key.created),
        "labels": key.labels,
        "derivation": derivation.map(|d| json!({ "master": d.master.as_str(), "path": d.path })),
        "exportable": key.flags.exportable,
        "protected": key.flags.protected,
        "retired": key.flags.retired,
    });
    match key.state {
        StoredState::PendingDeletion { not_before } => {
            object["not_before"] = time(not_before).into();
        }
        StoredState::Destroyed { at } => object["destroyed"] = time(at).into(),
        _ => {}
    }
    object
}

/// Keys, one a row.
pub(crate) fn key_table(keys: &[StoredKey]) -> String {
    let mut table = table(["ID", "TYPE", "VERSION", "STATE", "FLAGS", "PUBLIC KEY"]);
    table.add_rows(keys.iter().map(|key| {
        [
            key.id.to_string(),
            key.key_type.to_string(),
            key.version.to_string(),
            state(key.state).into(),
            flags(key),
            key.public_key.clone(),
        ]
    }));
    table.trim_fmt()
}

/// What is set of a key's flags.
pub(crate) fn flags(key: &StoredKey) -> String {
    let flags = [
        (key.flags.exportable, "exportable"),
        (key.flags.protected, "protected"),
        (key.flags.retired, "retired"),
    ];
    let set: Vec<_> = flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
    set.join(",")
}

/// Labels as they are given.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // A store that comes from elsewhere may have anything in it.
    labels.join(" ").replace(char::is_control, "\u{fffd}")
}

/// What a master is, in words.
pub(crate) fn kind(kind: MasterKind) -> String {
    match kind {
        MasterKind::Mnemonic { words } => format!("mnemonic of {words} words"),
        MasterKind::Seed {} => "seed".into(),
        _ => "unknown".into(),
    }
}

/// All that may be known of a master.
pub(crate) fn master_json(master: &StoredMaster) -> Value {
    let (kind, words) = match master.kind {
        MasterKind::Mnemonic { words } => ("mnemonic", Some(words)),
        MasterKind::Seed {} => ("seed", None),
        _ => ("unknown", None),
    };
    json!({
        "id": master.id.as_str(),
        "kind": kind,
        "words": words,
        "created": time(master.created),
        "exportable": master.exportable,
    })
}

/// A path as text, which JSON needs; what is no UTF-8 is replaced.
pub(crate) fn path(path: &Path) -> String {
    path.display().to_string()
}

/// `1 key`, `2 keys`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_any_kind_are_shown() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn one_is_one_and_the_others_are_many() {
        assert_eq!([count(0, "key"), count(1, "key")], ["0 keys", "1 key"]);
    }
}
