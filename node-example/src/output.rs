//! What the node prints: lines for people, or one JSON object a line.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use kms_backend::{Callers, KeyInfo};
use kms_service::DeclaredKey;
use node_example::event::SlotReport;
use node_example::refusal::{Failure, Refusal};
use node_example::settings::NodeSettings;
use serde::Serialize;

/// A line of the JSON form. The fields are printed in the order they have here.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Checked {
        keys: Vec<CheckedKey<'a>>,
    },
    DemoPassphrases {
        files: &'a [PathBuf],
    },
    Ready {
        keys: Vec<ReadyKey<'a>>,
    },
    Slot {
        slot: u64,
        hash: String,
        proposer: &'a str,
        attesters: usize,
        verified: bool,
        micros: u128,
    },
    Stopped {
        slots: u64,
    },
    Warning {
        text: &'a str,
    },
    Refused {
        code: u8,
        failures: &'a [Failure],
    },
}

#[derive(Serialize)]
struct CheckedKey<'a> {
    id: &'a str,
    r#type: &'a str,
    backend: &'a str,
    source: Option<String>,
    schemes: Vec<&'static str>,
    /// Absent: every service.
    callers: Option<&'a BTreeSet<String>>,
}

#[derive(Serialize)]
struct ReadyKey<'a> {
    id: &'a str,
    r#type: &'a str,
    public_key: String,
}

/// Prints the node's lines in one form or the other. Reports of refusals go to standard error,
/// everything else to standard output.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn checked(&self, settings: &NodeSettings) {
        let keys = settings.kms.keys();
        if self.json {
            return print(&json(&Line::Checked { keys: keys.iter().map(checked_key).collect() }));
        }
        print(&format!("the settings are right; {} keys would be loaded:", keys.len()));
        for key in keys {
            let source = key.spec.source.as_ref().map(|source| format!(" from {source}"));
            let derived = key.spec.derivation.as_ref().map(|from| format!(" derived by {from}"));
            print(&format!(
                "  {:<16} {:<10} {}{}",
                key.spec.id,
                key.spec.key_type.as_str(),
                key.backend,
                source.or(derived).unwrap_or_default()
            ));
        }
    }

    /// To standard error in the JSON form: a program that reads the lines wants those of the run.
    pub(crate) fn made_demo_passphrases(&self, files: &[PathBuf]) {
        if files.is_empty() {
            return;
        }
        if self.json {
            return print_error(&json(&Line::DemoPassphrases { files }));
        }
        for file in files {
            let file = file.display();
            print(&format!(
                "made a passphrase for a new store, for this run and the next ones: {file}"
            ));
        }
    }

    pub(crate) fn ready(&self, keys: &[KeyInfo]) {
        if self.json {
            let described = keys.iter().map(|key| ReadyKey {
                id: key.id.as_str(),
                r#type: key.key_type.as_str(),
                public_key: key.public_key.to_hex(),
            });
            return print(&json(&Line::Ready { keys: described.collect() }));
        }
        print("ready; this node's keys:");
        for KeyInfo { id, key_type, public_key, .. } in keys {
            print(&format!("  {id:<16} {:<10} {public_key}", key_type.as_str()));
        }
    }

    pub(crate) fn slot(&self, report: &SlotReport) {
        let hash = report.hash.to_string();
        let SlotReport { slot, ref proposer, attesters, verified, micros, .. } = *report;
        if self.json {
            let proposer = proposer.as_str();
            return print(&json(&Line::Slot { slot, hash, proposer, attesters, verified, micros }));
        }
        let verdict = if verified { "verified" } else { "NOT VERIFIED" };
        print(&format!(
            "slot {slot:>4}  {}…  signed by {proposer}, attested by {attesters} keys, {verdict}  \
             {micros} µs",
            &hash[..16]
        ));
    }

    pub(crate) fn stopped(&self, slots: u64) {
        if self.json {
            return print(&json(&Line::Stopped { slots }));
        }
        print(&format!("stopped after {slots} {}", if slots == 1 { "slot" } else { "slots" }));
    }

    /// Something to be aware of, though the node runs.
    pub(crate) fn warned(&self, text: &str) {
        if self.json {
            return print_error(&json(&Line::Warning { text }));
        }
        print_error(&format!("warning: {text}"));
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        if self.json {
            let (code, failures) = (refusal.code as u8, refusal.failures.as_slice());
            return print_error(&json(&Line::Refused { code, failures }));
        }
        print_error(&refusal.to_string());
    }
}

fn checked_key(key: &DeclaredKey) -> CheckedKey<'_> {
    CheckedKey {
        id: key.spec.id.as_str(),
        r#type: key.spec.key_type.as_str(),
        backend: &key.backend,
        source: key.spec.source.as_ref().map(ToString::to_string),
        schemes: key.spec.schemes.iter().map(|scheme| scheme.as_str()).collect(),
        callers: match &key.spec.callers {
            Callers::Every => None,
            Callers::Only(names) => Some(names),
        },
    }
}

fn json(line: &Line<'_>) -> String {
    // Infallible: every field is a number, a text or a list of them. (A path that is no text is
    // reported by `serde_json`, and then said so.)
    serde_json::to_string(line)
        .unwrap_or_else(|error| format!(r#"{{"event":"error","cause":"{error}"}}"#))
}

/// A reader that has gone is no reason to stop a node.
fn print(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Nobody is left to be told of a standard error that can't be written.
fn print_error(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
