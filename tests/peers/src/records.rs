//! Audit records, as files have them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// The records of all files that a node has written to, the oldest file first: an object on each line, and
/// each request with one outcome, which follows it.
///
/// # Panics
/// If it isn't so.
#[must_use]
#[track_caller]
pub fn paired(logs: &[&Path]) -> Vec<Value> {
    let (records, open) = paired_but(logs);
    assert!(open.is_empty(), "no outcome: {open:?}");
    records
}

/// The same where outcomes could not be written. The requests that have none come second.
///
/// # Panics
/// If it isn't so.
#[must_use]
#[track_caller]
pub fn paired_but(logs: &[&Path]) -> (Vec<Value>, Vec<Value>) {
    let text = logs.iter().map(|log| std::fs::read_to_string(log).unwrap()).collect::<String>();
    let records = text.lines().map(|line| serde_json::from_str(line).expect(line));
    let records: Vec<Value> = records.collect();
    let (mut open, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for record in &records {
        let id = record["id"].as_str().unwrap();
        assert_eq!(record["payload"], "[redacted]");
        if record["event"] == "request" {
            assert!(seen.insert(id), "twice: {record}");
            open.insert(id, record);
            continue;
        }
        assert_eq!(record["event"], "response", "{record}");
        let request = open.remove(id);
        let request = request.unwrap_or_else(|| panic!("nobody asked, or twice: {record}"));
        for field in ["backend", "operation", "key", "algorithm", "attempt"] {
            assert_eq!(record[field], request[field], "{field}: {request} {record}");
        }
        assert!(record["micros"].is_u64() && record["outcome"].is_string(), "{record}");
    }
    let open = open.into_values().cloned().collect();
    (records, open)
}

/// Of each request with this `operation` that has an outcome: which try it was, and the outcome.
#[must_use]
pub fn outcomes<'a>(records: &'a [Value], operation: &str) -> Vec<(u64, &'a str)> {
    let ended = |record: &&Value| record["operation"] == operation && record["event"] == "response";
    let told = |record: &'a Value| Some((record["attempt"].as_u64()?, record["outcome"].as_str()?));
    records.iter().filter(ended).filter_map(told).collect()
}
