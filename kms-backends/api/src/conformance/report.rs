//! What came of the checks.

use std::collections::BTreeMap;
use std::fmt;

use super::Verdict;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CheckKind {
    /// Registering a key.
    Register,
    /// Signing.
    Sign,
    /// Keys that are missing or damaged.
    Missing,
    /// Opening the place again.
    Reopen,
    /// Listing keys.
    List,
    /// Generating, rotating, disabling, scheduling deletions.
    Lifecycle,
    /// Operations that a backend can't do, operators, health.
    Operation,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFailure {
    /// What the check is about.
    pub kind: CheckKind,
    /// Which check.
    pub name: String,
    /// What the backend did.
    pub reason: String,
}

/// What came of all checks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    run: BTreeMap<CheckKind, usize>,
    not_applicable: Vec<(CheckKind, String)>,
    failures: Vec<CheckFailure>,
}

impl Report {
    /// How many checks ran.
    #[must_use]
    pub fn run(&self) -> usize {
        self.run.values().sum()
    }

    /// The checks that made no sense for the backend.
    #[must_use]
    pub fn not_applicable(&self) -> &[(CheckKind, String)] {
        &self.not_applicable
    }

    /// The checks that failed.
    #[must_use]
    pub fn failures(&self) -> &[CheckFailure] {
        &self.failures
    }

    /// Prints the report to standard output.
    ///
    /// # Panics
    /// If a check failed, or none ran.
    #[expect(clippy::panic, reason = "this is the assertion that a backend's test consists of")]
    pub fn assert_conformance(&self) {
        println!("{self}");
        if self.run() == 0 {
            panic!("no check ran: the backend says that it holds no key type");
        }
        if !self.failures.is_empty() {
            panic!("{} conformance checks failed", self.failures.len());
        }
    }

    pub(super) fn record(&mut self, kind: CheckKind, name: String, verdict: Verdict) {
        *self.run.entry(kind).or_default() += 1;
        if let Err(reason) = verdict {
            self.failures.push(CheckFailure { kind, name, reason });
        }
    }

    pub(super) fn skip(&mut self, kind: CheckKind, name: String) {
        self.not_applicable.push((kind, name));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "conformance: {} run, {} not applicable:",
            self.run(),
            self.not_applicable.len()
        )?;
        for (index, (kind, count)) in self.run.iter().enumerate() {
            write!(f, "{} {kind} {count}", if index == 0 { "" } else { "," })?;
        }
        for CheckFailure { kind, name, reason } in &self.failures {
            write!(f, "\n  FAILED {kind}: {name}: {reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register => "register",
            Self::Sign => "sign",
            Self::Missing => "missing",
            Self::Reopen => "reopen",
            Self::List => "list",
            Self::Lifecycle => "lifecycle",
            Self::Operation => "operation",
        })
    }
}
