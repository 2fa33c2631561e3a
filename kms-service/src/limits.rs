//! How much the service takes on at once, and for how long.

use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Limits of the service, section `limits` of its settings. Durations have units (`5s`, `250ms`),
/// sizes too (`1MiB`, or plain bytes).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// How many requests may wait in one lane, or be under way at one backend that signs elsewhere; one
    /// more is answered [`Overloaded`](crate::KmsError::Overloaded) at once. A large one takes a place for
    /// each 64 KiB of its messages, or for each 16 of them if that is more. Also the most messages of one `sign_many` and keys of one
    /// `sign_aggregate`. 1 to 65,536; default 1,024.
    pub queue: usize,
    /// The most bytes of one message to be signed, or of an operator's input; the messages of one
    /// `sign_many` may have 64 times as many together. 1 byte to 64 MiB; default 1 MiB.
    #[serde(deserialize_with = "bytes")]
    pub message_bytes: usize,
    /// The longest that a request may take, whatever its caller grants; default 5 s.
    #[serde(deserialize_with = "duration")]
    pub deadline: Duration,
    /// How many threads sign in this process.
    pub threads: Threads,
    /// The longest that opening the backends and registering the settings' keys may take; default
    /// 30 s.
    #[serde(deserialize_with = "duration")]
    pub startup: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 1024,
            message_bytes: 1024 * 1024,
            deadline: Duration::from_secs(5),
            startup: Duration::from_secs(30),
            threads: Threads::default(),
        }
    }
}

/// How many threads sign in this process; each as many as there are cores, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Threads {
    /// For Ed25519 and secp256k1, at a lower priority than the rest of the node. 1 to 1,024.
    pub cheap: Option<usize>,
    /// For BLS12-381, at a still lower priority. 1 to 1,024.
    pub costly: Option<usize>,
}

impl Threads {
    pub(crate) fn cheap(self) -> usize {
        self.cheap.unwrap_or_else(cores)
    }

    pub(crate) fn costly(self) -> usize {
        self.costly.unwrap_or_else(cores)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// The bytes that take one place in a queue.
const PLACE_BYTES: usize = 64 * 1024;

/// The signatures of one request that take one.
const PLACE_SIGNATURES: usize = 16;

/// How many of the largest messages one request may hold.
const LARGEST_MESSAGES: usize = 64;

impl Limits {
    /// How many places in a queue a request for so many signatures, with so many bytes, takes; no more than
    /// there are.
    pub(crate) fn places(&self, bytes: usize, signatures: usize) -> usize {
        let places = bytes.div_ceil(PLACE_BYTES).max(signatures.div_ceil(PLACE_SIGNATURES));
        places.clamp(1, self.queue)
    }

    /// The most bytes of all messages of one request.
    pub(crate) fn request_bytes(&self) -> usize {
        self.message_bytes.saturating_mul(LARGEST_MESSAGES)
    }

    /// What is out of range: a field, and what was expected.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !(1..=65_536).contains(&self.queue) {
            problems.push(("queue", format!("{} is not 1 to 65536", self.queue)));
        }
        if !(1..=64 * 1024 * 1024).contains(&self.message_bytes) {
            problems.push(("message_bytes", format!("{} is not 1 to 64MiB", self.message_bytes)));
        }
        for (field, threads) in
            [("threads.cheap", self.threads.cheap), ("threads.costly", self.threads.costly)]
        {
            if let Some(threads) = threads.filter(|threads| !(1..=1024).contains(threads)) {
                problems.push((field, format!("{threads} is not 1 to 1024")));
            }
        }
        let day = Duration::from_secs(24 * 60 * 60);
        for (field, value) in [("deadline", self.deadline), ("startup", self.startup)] {
            if value.is_zero() || value > day {
                problems.push((field, format!("{value:?} is not above zero and up to a day")));
            }
        }
        problems
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with its unit, such as 5s or 250ms")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text)
                .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Text)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    struct Size;

    impl Visitor<'_> for Size {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size, such as 1MiB or a number of bytes")
        }

        fn visit_u64<E: Error>(self, bytes: u64) -> Result<usize, E> {
            usize::try_from(bytes)
                .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(bytes), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
            let size = text.parse::<ByteSize>().ok();
            size.and_then(|size| usize::try_from(size.as_u64()).ok())
                .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), Limits::default());
    }

    #[test]
    fn units_are_read() {
        let json = r#"{"message_bytes": "2MiB", "deadline": "250ms", "startup": "1m"}"#;
        let limits: Limits = serde_json::from_str(json).unwrap();
        assert_eq!(limits.message_bytes, 2 * 1024 * 1024);
        assert_eq!(limits.deadline, Duration::from_millis(250));
        assert_eq!(limits.startup, Duration::from_secs(60));
        let limits: Limits = serde_json::from_str(r#"{"message_bytes": 4096}"#).unwrap();
        assert_eq!(limits.message_bytes, 4096);
    }

    #[test]
    fn what_has_no_unit_or_no_sense_is_refused() {
        for (json, expected) in [
            (r#"{"deadline": 5}"#, "a duration with its unit"),
            (r#"{"deadline": "5"}"#, "a duration with its unit"),
            (r#"{"deadline": "-5s"}"#, "a duration with its unit"),
            (r#"{"message_bytes": "much"}"#, "a size, such as 1MiB"),
            (r#"{"message_bytes": -1}"#, "a size, such as 1MiB"),
            (r#"{"queue": "many"}"#, "usize"),
            (r#"{"que": 1}"#, "unknown field `que`"),
        ] {
            let error = serde_json::from_str::<Limits>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let limits = Limits {
            queue: 0,
            message_bytes: usize::MAX,
            deadline: Duration::ZERO,
            startup: Duration::MAX,
            threads: Threads { cheap: Some(0), costly: Some(1025) },
        };
        let fields: Vec<_> = limits.problems().into_iter().map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            ["queue", "message_bytes", "threads.cheap", "threads.costly", "deadline", "startup"]
        );
        assert!(Limits::default().problems().is_empty());
    }
}
