//! The names of keys.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// The name by which a key is asked for, such as `consensus/leader`.
///
/// 1 to 128 bytes of `A`–`Z`, `a`–`z`, `0`–`9`, `.`, `_` and `-`, in segments joined by `/`. No
/// segment is empty, `.` or `..`. Case matters: `Node` and `node` are two keys. A clone is cheap; it
/// shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The most bytes that a key id has.
    pub const MAX_LEN: usize = 128;

    /// Checks `text` and makes it a key id.
    ///
    /// # Errors
    /// [`KeyIdError`] says what is wrong first, and where.
    pub fn new(text: impl AsRef<str>) -> Result<Self, KeyIdError> {
        let text = text.as_ref();
        check(text)?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), KeyIdError> {
    if text.is_empty() {
        return Err(KeyIdError::Empty);
    }
    if text.len() > KeyId::MAX_LEN {
        return Err(KeyIdError::TooLong { got: text.len() });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if let Some((position, character)) = text.char_indices().find(|(_, c)| !allowed(*c)) {
        return Err(KeyIdError::BadCharacter { character, position });
    }
    let mut position = 0;
    for segment in text.split('/') {
        match segment {
            "" => return Err(KeyIdError::EmptySegment { position }),
            "." | ".." => return Err(KeyIdError::DotSegment { position }),
            _ => position += segment.len() + 1,
        }
    }
    Ok(())
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: &str) -> Result<Self, KeyIdError> {
        Self::new(text)
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<Self, KeyIdError> {
        Self::new(text)
    }
}

impl AsRef<str> for KeyId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Why a text is no key id. Of the text itself it holds one character at most, shown escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyIdError {
    /// There is no text.
    #[error("a key id is empty")]
    Empty,
    /// The text has more than [`KeyId::MAX_LEN`] bytes.
    #[error("a key id has at most {max} bytes, this one has {got}", max = KeyId::MAX_LEN)]
    TooLong {
        /// The bytes of the text.
        got: usize,
    },
    /// A character that key ids do not have.
    #[error(
        "character '{}' at byte {position}; a key id is made of A-Z, a-z, 0-9, '.', '_', '-' and '/'",
        character.escape_default()
    )]
    BadCharacter {
        /// The character.
        character: char,
        /// Where it begins, in bytes from 0.
        position: usize,
    },
    /// Two `/` in a row, or one at the start or the end.
    #[error("empty segment at byte {position} of the key id")]
    EmptySegment {
        /// Where the segment would be, in bytes from 0.
        position: usize,
    },
    /// A segment that is `.` or `..`.
    #[error("segment '.' or '..' at byte {position} of the key id")]
    DotSegment {
        /// Where the segment begins, in bytes from 0.
        position: usize,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn good_names_are_kept_as_they_are() {
        let longest = "x".repeat(KeyId::MAX_LEN);
        for name in ["a", "consensus/leader", "A.b_c-9/.../..a/a..", "-", &longest] {
            let id = KeyId::new(name).unwrap();
            assert_eq!(id.as_str(), name);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let too_long = "x".repeat(KeyId::MAX_LEN + 1);
        for (name, expected) in [
            ("", KeyIdError::Empty),
            (&*too_long, KeyIdError::TooLong { got: 129 }),
            ("a b", KeyIdError::BadCharacter { character: ' ', position: 1 }),
            ("node/é", KeyIdError::BadCharacter { character: 'é', position: 5 }),
            ("a\0", KeyIdError::BadCharacter { character: '\0', position: 1 }),
            ("a\\b", KeyIdError::BadCharacter { character: '\\', position: 1 }),
            ("/", KeyIdError::EmptySegment { position: 0 }),
            ("/a", KeyIdError::EmptySegment { position: 0 }),
            ("a/", KeyIdError::EmptySegment { position: 2 }),
            ("a//b", KeyIdError::EmptySegment { position: 2 }),
            (".", KeyIdError::DotSegment { position: 0 }),
            ("ab/../c", KeyIdError::DotSegment { position: 3 }),
            ("a/.", KeyIdError::DotSegment { position: 2 }),
        ] {
            assert_eq!(KeyId::new(name), Err(expected), "{name:?}");
        }
    }

    #[test]
    fn an_error_shows_hostile_characters_escaped() {
        let shown = KeyId::new("a\u{1b}[31m").unwrap_err().to_string();
        assert!(shown.starts_with(r"character '\u{1b}' at byte 1;"), "{shown}");
    }

    #[test]
    fn case_matters_and_maps_are_searched_by_text() {
        let ids: HashMap<_, _> =
            [(KeyId::new("Node").unwrap(), 1), (KeyId::new("node").unwrap(), 2)].into();
        assert_eq!((ids.get("Node"), ids.get("node"), ids.get("NODE")), (Some(&1), Some(&2), None));
    }

    #[test]
    fn serde_checks_what_it_reads() {
        let id: KeyId = serde_json::from_str("\"a/b\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"a/b\"");
        assert!(serde_json::from_str::<KeyId>("\"a//b\"").is_err());
    }
}
