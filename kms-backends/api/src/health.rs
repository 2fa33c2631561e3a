//! How a backend is.

use std::fmt;

/// How a backend is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The level.
    pub level: HealthLevel,
    /// Why it isn't better, for people. Empty when all is well.
    pub reasons: Vec<String>,
}

/// The four levels of health, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthLevel {
    /// All is well.
    Ok,
    /// It works, though not as it should.
    Degraded,
    /// It doesn't work now and may work again by itself.
    Failed,
    /// It doesn't work until somebody mends it.
    Fatal,
}

impl Health {
    /// All is well.
    #[must_use]
    pub fn ok() -> Self {
        Self { level: HealthLevel::Ok, reasons: Vec::new() }
    }

    /// A level with one reason.
    pub fn new(level: HealthLevel, reason: impl Into<String>) -> Self {
        Self { level, reasons: vec![reason.into()] }
    }
}

impl fmt::Display for HealthLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Fatal => "fatal",
        })
    }
}
