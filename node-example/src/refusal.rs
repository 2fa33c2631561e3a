//! Why a node does not start, and the exit code that says so.

use std::error::Error;
use std::fmt;

use kms_backend::ErrorChain;
use kms_service::{SettingsError, StartupError};
use serde::Serialize;

use crate::event::ServiceFailure;
use crate::yaml;

/// Exit codes, after `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The command line is wrong.
    Usage = 64,
    /// A source, key or backend had to be touched and failed.
    Unavailable = 69,
    /// A bug.
    Bug = 70,
    /// The settings alone are wrong; nothing has been touched.
    Settings = 78,
}

/// Why a node does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The process's exit code.
    pub code: ExitCode,
    /// Everything that failed; never empty.
    pub failures: Vec<Failure>,
}

/// One thing that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The key it is about, if it is about one.
    pub key: Option<String>,
    /// The settings, if they alone are wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where they say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What went wrong, with its causes.
    pub cause: String,
}

impl Refusal {
    /// A refusal with one failure that is about no key.
    pub fn new(code: ExitCode, cause: impl Into<String>) -> Self {
        Self {
            code,
            failures: vec![Failure { key: None, file: None, field: None, cause: cause.into() }],
        }
    }

    /// What is wrong with the settings called `file`.
    #[must_use]
    pub fn of_settings(file: &str, mut failures: Vec<Failure>) -> Self {
        for failure in &mut failures {
            failure.file = Some(file.to_owned());
        }
        Self { code: ExitCode::Settings, failures }
    }

    /// Adds what was logged of a start that failed, if this refusal itself can't say which keys are
    /// the reason.
    #[must_use]
    pub fn or_logged(mut self, log: &str) -> Self {
        if !log.is_empty() && self.failures.iter().all(|failure| failure.key.is_none()) {
            let lines = log.lines().map(|line| Failure {
                file: None,
                field: None,
                key: None,
                cause: line.trim().to_owned(),
            });
            self.failures.extend(lines);
        }
        self
    }

    /// What came back from starting `service`. The framework may hand on what the service itself
    /// said; where it only says that the start failed, the service's report is in the log.
    #[must_use]
    pub fn of_start(service: &str, error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(report) = error.downcast_ref::<StartupError>() {
                return Self::of_report(report);
            }
            cause = error.source();
        }
        let text = format!("service {service} did not start: {}", ErrorChain(error));
        Self::new(ExitCode::Unavailable, text)
    }

    fn of_report(report: &StartupError) -> Self {
        let StartupError::Failures(failures) = report else {
            return Self::new(ExitCode::Bug, report.to_string());
        };
        let failures = failures.iter().map(|failure| {
            let chain = ErrorChain(&failure.cause);
            Failure {
                key: failure.key.as_ref().map(ToString::to_string),
                file: None,
                field: None,
                cause: match &failure.key {
                    Some(_) => chain.to_string(),
                    None => format!("backend {}: {chain}", failure.backend),
                },
            }
        });
        Self { code: ExitCode::Unavailable, failures: failures.collect() }
    }
}

impl From<ServiceFailure> for Refusal {
    fn from(failure: ServiceFailure) -> Self {
        let ServiceFailure { service, key, cause } = failure;
        let cause = format!("service {service}: {cause}");
        Self {
            code: ExitCode::Unavailable,
            failures: vec![Failure { key, file: None, field: None, cause }],
        }
    }
}

impl Failure {
    /// Everything that is wrong with the key management service's section.
    pub fn of_section(error: SettingsError) -> impl Iterator<Item = Self> {
        error.problems.into_iter().map(|problem| Self {
            key: problem.key.map(|key| yaml::shown_id(&key).to_owned()),
            file: None,
            field: Some(problem.field),
            cause: yaml::without_long_words(&problem.problem),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.code {
            ExitCode::Settings => "the settings are wrong",
            ExitCode::Bug => "this is a bug, please report it",
            ExitCode::Usage | ExitCode::Unavailable => "the node does not start",
        };
        f.write_str(what)?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

impl Error for Refusal {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "key {key}: ")?;
        }
        f.write_str(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_what_the_framework_did_not() {
        let failed = std::io::Error::other("Couldn't start service");
        let refusal =
            Refusal::of_start("Kms", &failed).or_logged("can't start\n  key a: missing\n");
        assert_eq!(refusal.code, ExitCode::Unavailable);
        let causes: Vec<_> = refusal.failures.iter().map(|failure| &failure.cause).collect();
        let start = "service Kms did not start: Couldn't start service";
        assert_eq!(causes, [start, "can't start", "key a: missing"]);
    }

    #[test]
    fn the_log_is_left_out_where_the_keys_are_named() {
        let failure =
            Failure { key: Some("a".into()), file: None, field: None, cause: "missing".into() };
        let refusal = Refusal { code: ExitCode::Unavailable, failures: vec![failure] };
        assert_eq!(refusal.clone().or_logged("key a: missing"), refusal);
        assert_eq!(refusal.to_string(), "the node does not start\n  key a: missing");
    }
}
