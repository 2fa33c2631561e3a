//! Aliases for the ids of keys. Both may have letters, digits, `/` and `-`; in an alias `__` stands for
//! `_`, `_-` for `.`, and `_v2` at the end for version 2.

use kms_backend::{BackendError, Failure};
use kms_keys::KeyId;

/// The most bytes of an alias, `alias/` included.
const MAX_ALIAS: usize = 256;

/// What an alias names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: KeyId,
    /// `None` for the current version.
    pub(crate) version: Option<u32>,
}

/// The alias of a version, or of the current one.
///
/// # Errors
/// [`BackendError::Misconfigured`] for an id that is too long.
pub(crate) fn alias(
    prefix: &str,
    id: &KeyId,
    version: Option<u32>,
) -> Result<String, BackendError> {
    let mut alias = format!("alias/{prefix}");
    for letter in id.as_str().chars() {
        match letter {
            '_' => alias.push_str("__"),
            '.' => alias.push_str("_-"),
            other => alias.push(other),
        }
    }
    if let Some(version) = version {
        alias += &format!("_v{version}");
    }
    if alias.len() > MAX_ALIAS {
        return Err(BackendError::Misconfigured(Failure::new(format!(
            "key {id} is too long for AWS: its alias has {} bytes and may have {MAX_ALIAS}",
            alias.len()
        ))));
    }
    Ok(alias)
}

/// What this alias names, if it is one of ours.
pub(crate) fn read(prefix: &str, alias: &str) -> Option<Named> {
    let mut rest = alias.strip_prefix("alias/")?.strip_prefix(prefix)?.chars();
    let (mut id, mut version) = (String::new(), None);
    while let Some(letter) = rest.next() {
        match (letter, if letter == '_' { rest.next()? } else { letter }) {
            ('_', '_') => id.push('_'),
            ('_', '-') => id.push('.'),
            ('_', 'v') => {
                let digits = rest.as_str();
                let number = digits.parse().ok().filter(|number: &u32| *number > 0)?;
                // One spelling for each version.
                (number.to_string() == digits).then_some(())?;
                version = Some(number);
                break;
            }
            ('_' | '.', _) => return None,
            (other, _) => id.push(other),
        }
    }
    Some(Named { id: KeyId::new(id).ok()?, version })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn aliases_are_as_documented() {
        for (id, version, expected) in [
            ("node/identity", None, "alias/kms/node/identity"),
            ("node/identity", Some(12), "alias/kms/node/identity_v12"),
            ("a.b_c-d", None, "alias/kms/a_-b__c-d"),
            ("a_v2", Some(3), "alias/kms/a__v2_v3"),
            ("a_-b", None, "alias/kms/a__-b"),
        ] {
            let id = KeyId::new(id).unwrap();
            assert_eq!(alias("kms/", &id, version).unwrap(), expected);
            assert_eq!(read("kms/", expected), Some(Named { id, version }));
        }
        for foreign in [
            "alias/aws/s3",
            "alias/kms/",
            "alias/kms/a_",
            "alias/kms/a_x",
            "alias/kms/a_v",
            "alias/kms/a_v0",
            "alias/kms/a_v02",
            "alias/kms/a_v+2",
            "alias/kms/a_v2/b",
            "alias/kms/a//b",
            "kms/a",
        ] {
            assert_eq!(read("kms/", foreign), None, "{foreign}");
        }
        let long = KeyId::new("_".repeat(128)).unwrap();
        assert!(matches!(alias("kms/", &long, None), Err(BackendError::Misconfigured(_))));
    }

    proptest! {
        #[test]
        fn every_id_comes_back(
            id in "[A-Za-z0-9_.-]{1,40}(/[A-Za-z0-9_.-]{1,40}){0,2}",
            version in proptest::option::of(1..=u32::MAX),
        ) {
            if let Ok(id) = KeyId::new(id) && let Ok(alias) = alias("", &id, version) {
                prop_assert!(alias.bytes().all(|it| it.is_ascii_alphanumeric() || b"/_-".contains(&it)));
                prop_assert_eq!(read("", &alias), Some(Named { id, version }));
            }
        }

        #[test]
        fn an_alias_that_is_read_is_the_one_of_its_name(text in "alias/[a-c_v0-9./-]{0,12}") {
            if let Some(Named { id, version }) = read("", &text) {
                prop_assert_eq!(alias("", &id, version).unwrap(), text);
            }
        }
    }
}
