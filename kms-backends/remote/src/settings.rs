//! The part of the settings that is the same for all remote backends.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The longest duration that makes sense in these settings: an hour.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How somebody else is asked: section `remote` of a remote backend's settings. Durations have units
/// (`5s`, `250ms`), are above zero and at most an hour.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RemoteSettings {
    /// When and how often something is tried again.
    pub retry: RetrySettings,
    /// How long one try may take; default 2 s.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// How many tries may be under way at once, and so how many connections or sessions there are. 1 to
    /// 1,024; default 32.
    #[serde(deserialize_with = "up_to_1024")]
    pub concurrency: usize,
    /// How long to wait between two looks at how the other side is; default 10 s.
    #[serde(deserialize_with = "duration")]
    pub health_interval: Duration,
    /// Whether every signature is checked before it is given out; default `true`.
    pub verify: bool,
    /// Whether every request and its outcome is told as a `tracing` event, target `kms::audit`; default
    /// `true`.
    pub audit_logging: bool,
    /// A file that every request and its outcome is written to. Where there is one, nothing is asked
    /// that can't be written there first.
    pub audit: Option<AuditSettings>,
}

/// When and how often something is tried again that can succeed later.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RetrySettings {
    /// The pause after the first try. Each one after it is twice as long; a random part of up to a half
    /// is taken off each. Default 500 ms.
    #[serde(deserialize_with = "duration")]
    pub first: Duration,
    /// The longest pause; default 10 s.
    #[serde(deserialize_with = "duration")]
    pub longest: Duration,
    /// The most tries, the first included. 1 to 1,024; default 8. A request's deadline ends them earlier.
    #[serde(deserialize_with = "up_to_1024")]
    pub limit: usize,
}

/// Where requests and their outcomes are written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSettings {
    /// The file, made with mode 0600 if it isn't there, and appended to: a JSON object a line. A
    /// relative path is taken from the folder of the settings.
    pub file: PathBuf,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            retry: RetrySettings::default(),
            timeout: Duration::from_secs(2),
            concurrency: 32,
            health_interval: Duration::from_secs(10),
            verify: true,
            audit_logging: true,
            audit: None,
        }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(10), limit: 8 }
    }
}

/// Reads a duration with its unit, above zero and at most an hour.
///
/// # Errors
/// The deserialiser's, for anything else.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with its unit, such as 5s or 250ms, above zero and at most 1h")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            let duration = humantime::parse_duration(text).ok();
            duration
                .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Text)
}

fn up_to_1024<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let number = usize::deserialize(deserializer)?;
    if (1..=1024).contains(&number) {
        Ok(number)
    } else {
        Err(D::Error::invalid_value(
            Unexpected::Unsigned(number as u64),
            &"a number from 1 to 1024",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings: RemoteSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, RemoteSettings::default());
        assert!(settings.verify && settings.audit_logging);
        let settings: RemoteSettings = serde_json::from_str(
            r#"{"retry": {"first": "50ms"}, "audit": {"file": "audit.log"}, "concurrency": 4}"#,
        )
        .unwrap();
        assert_eq!(settings.retry.first, Duration::from_millis(50));
        assert_eq!(settings.retry.longest, Duration::from_secs(10));
        assert_eq!(settings.concurrency, 4);
        assert_eq!(settings.audit, Some(AuditSettings { file: "audit.log".into() }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (json, expected) in [
            (r#"{"timeout": "0s"}"#, "above zero"),
            (r#"{"timeout": 5}"#, "a duration with its unit"),
            (r#"{"health_interval": "2h"}"#, "at most 1h"),
            (r#"{"concurrency": 0}"#, "1 to 1024"),
            (r#"{"retry": {"limit": 1025}}"#, "1 to 1024"),
            (r#"{"retry": {"tries": 3}}"#, "unknown field `tries`"),
            (r#"{"audit": {}}"#, "missing field `file`"),
            (r#"{"verfiy": false}"#, "unknown field `verfiy`"),
        ] {
            let error = serde_json::from_str::<RemoteSettings>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
