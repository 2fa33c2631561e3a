//! Keys that somebody else has put into the token, under names of their own.

use std::fmt;

use cryptoki::object::Attribute;
use serde::{Deserialize, Deserializer, de};

/// Which private key of a token is meant: the one with this label, this `CKA_ID`, or both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct KeyObject {
    label: Option<String>,
    cka_id: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    label: Option<String>,
    #[serde(default, deserialize_with = "hex")]
    id: Option<Vec<u8>>,
}

impl KeyObject {
    /// The key with this label and this `CKA_ID`, as far as they are given. Nothing if neither is, or one is
    /// empty.
    #[must_use]
    pub fn new(label: Option<String>, cka_id: Option<Vec<u8>>) -> Option<Self> {
        let empty = label.as_ref().is_some_and(String::is_empty)
            || cka_id.as_ref().is_some_and(Vec::is_empty);
        (!empty && (label.is_some() || cka_id.is_some())).then_some(Self { label, cka_id })
    }

    /// What finds it, besides its class.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let label = self.label.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec()));
        let cka_id = self.cka_id.clone().map(Attribute::Id);
        label.into_iter().chain(cka_id)
    }

    /// Whether an object with this label and `CKA_ID` is meant.
    pub(crate) fn is(&self, label: &[u8], cka_id: &[u8]) -> bool {
        self.label.as_ref().is_none_or(|own| own.as_bytes() == label)
            && self.cka_id.as_ref().is_none_or(|own| own == cka_id)
    }
}

/// In words: `label … and CKA_ID …`.
impl fmt::Display for KeyObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label.as_ref().map(|label| format!("label {label}"));
        let cka_id = self.cka_id.as_ref().map(|cka_id| format!("CKA_ID {}", in_hex(cka_id)));
        let parts: Vec<_> = label.into_iter().chain(cka_id).collect();
        f.write_str(&parts.join(" and "))
    }
}

impl TryFrom<Written> for KeyObject {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Self::new(written.label, written.id)
            .ok_or("a key is named by its `label`, its `id` or both, which aren't empty")
    }
}

pub(crate) fn in_hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

fn hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    struct Digits;

    impl de::Visitor<'_> for Digits {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("hexadecimal digits in quotes, two for each byte")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
            base16ct::mixed::decode_vec(text)
                .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Digits).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_looked_for() {
        let read = |json: &str| serde_json::from_str::<KeyObject>(json).unwrap();
        let both = read(r#"{"label": "signer 1", "id": "0aFF"}"#);
        assert_eq!(both.to_string(), "label signer 1 and CKA_ID 0aff");
        assert_eq!(both.attributes().count(), 2);
        let label = read(r#"{"label": "signer 1"}"#);
        assert_eq!(label.to_string(), "label signer 1");
        let id = read(r#"{"id": "0a"}"#);
        assert_eq!(id.to_string(), "CKA_ID 0a");
        for (object, [first, second, third]) in [
            (&both, [true, false, false]),
            (&label, [true, true, false]),
            (&id, [false, true, true]),
        ] {
            assert_eq!(object.is(b"signer 1", &[0x0a, 0xff]), first, "{object}");
            assert_eq!(object.is(b"signer 1", &[0x0a]), second, "{object}");
            assert_eq!(object.is(b"signer", &[0x0a]), third, "{object}");
        }
    }

    #[test]
    fn what_names_no_key_is_refused() {
        for (json, expected) in [
            ("{}", "its `label`, its `id` or both"),
            (r#"{"label": ""}"#, "aren't empty"),
            (r#"{"label": "a", "id": ""}"#, "aren't empty"),
            (r#"{"id": "0"}"#, "two for each byte"),
            (r#"{"id": "0x01"}"#, "two for each byte"),
            (r#"{"id": 10}"#, "in quotes"),
            (r#"{"id": "01", "slot": 1}"#, "unknown field `slot`"),
        ] {
            let error = serde_json::from_str::<KeyObject>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
