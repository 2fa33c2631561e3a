//! What keys and mounts are called at the server.

use std::fmt;

use kms_keys::KeyId;
use serde::Deserialize;

/// The name of a key at the server. Every id has one.
#[must_use]
pub fn of(id: &KeyId) -> String {
    let id = id.as_str();
    let mut name = String::with_capacity(id.len() + 8);
    for (index, letter) in id.char_indices() {
        let at_an_end = index == 0 || index + 1 == id.len();
        match letter {
            '/' => name.push_str("_2F"),
            '_' => name.push_str("_5F"),
            '.' if at_an_end => name.push_str("_2E"),
            '-' if at_an_end => name.push_str("_2D"),
            other => name.push(other),
        }
    }
    name
}

/// The id of the key that has this name at the server; `None` for a name that no id has.
pub(crate) fn to_id(name: &str) -> Option<KeyId> {
    let mut parts = name.split('_');
    let mut id = parts.next()?.to_owned();
    for part in parts {
        id.push(match part.get(..2)? {
            "2F" => '/',
            "5F" => '_',
            "2E" => '.',
            "2D" => '-',
            _ => return None,
        });
        id.push_str(part.get(2..)?);
    }
    let id = KeyId::new(id).ok()?;
    // One id has one name: what is written otherwise belongs to somebody else.
    (of(&id) == name).then_some(id)
}

/// The path of a mount: letters, digits, `.`, `-` and `_` in segments joined by `/`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MountPath(String);

impl MountPath {
    pub(crate) fn known(path: &'static str) -> Self {
        Self(path.to_owned())
    }
}

impl TryFrom<String> for MountPath {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        let good = |segment: &str| {
            let letters = segment.bytes();
            !matches!(segment, "" | "." | "..")
                && letters.into_iter().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it))
        };
        if path.len() <= 256 && path.split('/').all(good) {
            Ok(Self(path))
        } else {
            Err(
                "a mount (not shown) is not up to 256 letters, digits, `.`, `-` and `_` in segments \
                 joined by `/`",
            )
        }
    }
}

/// The name of a key of Transit: letters, digits, `.`, `-` and `_`, the first and last no `.` or `-`.
#[cfg(feature = "envelope")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyName(String);

#[cfg(feature = "envelope")]
impl KeyName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "envelope")]
impl TryFrom<String> for KeyName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let is_word = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
        let letters = name.as_bytes();
        let ends = [letters.first(), letters.last()];
        let good = ends.into_iter().all(|end| end.is_some_and(|letter| is_word(*letter)))
            && letters.iter().all(|letter| is_word(*letter) || b".-".contains(letter));
        if name.len() <= 256 && good {
            Ok(Self(name))
        } else {
            Err(
                "a key's name (not shown) is not up to 256 letters, digits, `.`, `-` and `_`, without \
                 `.` and `-` in the first and last place",
            )
        }
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_lead_to_each_other() {
        for (id, name) in [
            ("a", "a"),
            ("node/identity", "node_2Fidentity"),
            ("Node-1.b", "Node-1.b"),
            ("a_b", "a_5Fb"),
            (".a/-b-", "_2Ea_2F-b_2D"),
            ("-", "_2D"),
            ("a_2Fb", "a_5F2Fb"),
            ("a/.b", "a_2F.b"),
        ] {
            let id = KeyId::new(id).unwrap();
            assert_eq!(of(&id), name);
            assert_eq!(to_id(name), Some(id));
        }
    }

    #[test]
    fn names_are_what_transit_takes() {
        let long = "/x".repeat(63);
        for id in ["a/b", ".x.", "-", "_", "a..b", &long[1..]] {
            let name = of(&KeyId::new(id).unwrap());
            let word = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
            let (first, last) = (name.as_bytes()[0], name.as_bytes()[name.len() - 1]);
            assert!(word(first) && word(last), "{name}");
            assert!(name.bytes().all(|it| word(it) || b".-".contains(&it)), "{name}");
        }
    }

    #[test]
    fn other_names_are_no_id_s() {
        for name in
            ["", "my_key", "a_2fb", "a_2", "a_", "a_2D", "_2F", "a_2E_5F/", "a__", "ä", "_2Eä"]
        {
            let id = to_id(name);
            assert!(id.as_ref().is_none_or(|id| of(id) == name), "{name}: {id:?}");
        }
        assert_eq!(to_id("my_key"), None);
        assert_eq!(to_id("x_2Dy"), None);
    }

    #[test]
    fn mounts_stay_in_their_path() {
        for good in ["transit", "team-a/transit", "a.b_c"] {
            assert_eq!(MountPath::try_from(good.to_owned()).unwrap().to_string(), good);
        }
        for bad in ["", "/transit", "transit/", "a//b", "a/../b", ".", "a b", "a?b", "a%2fb", "ä"]
        {
            assert!(MountPath::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
