//! From YAML text to typed settings, with errors that name line and field and show nothing that
//! could be a secret.

use kms_keys::KeyId;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Deserializer, Track};
use thiserror::Error;

/// Text that is no YAML, or doesn't say what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}{}: {problem}", in_field(field))]
pub struct YamlError {
    /// The line, from 1 on.
    pub line: u64,
    /// The column, from 1 on.
    pub column: u64,
    /// The field, for example `kms.keys[2].type`; empty if it is about none.
    pub field: String,
    /// What was expected. What was found is shown only where it can't be a secret.
    pub problem: String,
}

/// Reads `text`; `None` if there is nothing in it but comments.
///
/// # Errors
/// [`YamlError`].
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<Option<T>, YamlError> {
    let has_content = |line: &str| {
        let line = line.trim();
        !matches!(line, "" | "---" | "...") && !line.starts_with('#')
    };
    if !text.lines().any(has_content) {
        return Ok(None);
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
    };
    let mut track = Track::new();
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        T::deserialize(Deserializer::new(deserializer, &mut track))
    })
    .map(Some)
    .map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let field = field_at(&track.path().to_string());
        YamlError { line, column, field, problem: problem(&error.to_string()) }
    })
}

/// A path such as `kms.keys[2].type`; a single dot is the whole document, a question mark a field
/// that was not read.
fn field_at(path: &str) -> String {
    let path = path.trim_end_matches(['?', '.']);
    if path.is_empty() {
        return String::new();
    }
    let is_name = |step: &str| {
        step.split(['[', ']']).all(|name| is_short(name) && name.chars().all(is_secret_like))
    };
    let steps = path.split('.').map(|step| if is_name(step) { step } else { NOT_SHOWN });
    steps.collect::<Vec<_>>().join(".")
}

fn in_field(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(" ({field})") }
}

/// The parser's words without the position, which stands before them already.
fn problem(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    let message = &message[..end];
    if message.starts_with("multiple YAML documents") {
        return "a second YAML document begins, expected one".into();
    }
    let expected = match message {
        "expected string scalar" => "expected text",
        "expected mapping start" => "expected fields (`name: value`)",
        "expected sequence start" => "expected a list",
        "invalid bool" | "invalid boolean" => "expected true or false",
        _ if message.starts_with("invalid u") => "expected a whole number, 0 or above",
        _ => return without_secrets(message),
    };
    expected.into()
}

/// Somebody may have written a secret where its place, a name or a number belongs. So of what was
/// found only names are repeated, and nothing that is longer than a name.
fn without_secrets(text: &str) -> String {
    const DUPLICATE: &str = "duplicate mapping key: ";

    if let Some((name, _)) = text.strip_prefix(DUPLICATE).and_then(|rest| rest.split_once(',')) {
        return format!("duplicate field `{}`", name_or_nothing(name));
    }
    let mut shown = String::with_capacity(text.len());
    for (index, part) in text.split(['"', '`']).enumerate() {
        // What stands between quotes is what was found, or a name that was expected.
        if index % 2 == 1 {
            shown.push_str(&format!("`{}`", name_or_nothing(part)));
        } else {
            shown.push_str(&without_long_words(part));
        }
    }
    shown
}

/// `text` without what is longer than a name.
pub(crate) fn without_long_words(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !is_secret_like(c));
    words
        .map(|word| {
            let end = word.trim_end_matches(|c: char| !is_secret_like(c)).len();
            if is_short(&word[..end]) {
                word.to_owned()
            } else {
                format!("{NOT_SHOWN}{}", &word[end..])
            }
        })
        .collect()
}

const NOT_SHOWN: &str = "(not shown)";

fn name_or_nothing(text: &str) -> &str {
    if is_short(text) && text.chars().all(is_secret_like) { text } else { NOT_SHOWN }
}

/// A key id, unless it is a secret that somebody wrote where an id belongs: in text, a secret of 32
/// bytes has 43 letters or more, and no segment of a name has so many.
pub(crate) fn shown_id(id: &KeyId) -> &str {
    let text = id.as_str();
    if text.split(['/', '.']).all(|segment| segment.len() < 40) { text } else { NOT_SHOWN }
}

/// No longer than a name; the shortest secrets, of 16 bytes, have 22 letters in base64.
fn is_short(word: &str) -> bool {
    word.len() < 20
}

/// The letters of names, of hexadecimal, and of base64 in either alphabet.
fn is_secret_like(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Settings {
        name: String,
        count: Option<u32>,
        list: Option<Vec<Item>>,
        flag: Option<bool>,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Item {
        id: String,
        size: Option<u64>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Small,
    }

    fn error(text: &str) -> YamlError {
        parse::<Settings>(text).unwrap_err()
    }

    #[test]
    fn line_and_field_are_named() {
        let wrong = error("name: x\nlist:\n  - id: a\n  - id: b\n    size: large\n");
        assert_eq!((wrong.line, wrong.field.as_str()), (5, "list[1].size"));
        assert_eq!(
            wrong.to_string(),
            "line 5, column 11 (list[1].size): expected a whole number, 0 or above"
        );
        assert_eq!(error("name: [x]\n").field, "name");
    }

    #[test]
    fn unknown_and_duplicate_fields_are_named() {
        assert!(error("name: x\ncolour: red\n").problem.contains("unknown field `colour`"));
        assert!(error("name: x\nname: y\n").problem.contains("duplicate field `name`"));
        assert!(error("count: 1\n").problem.contains("missing field `name`"));
        assert!(error("name: x\nkind: large\n").problem.contains("unknown variant `large`"));
    }

    #[test]
    fn nothing_but_comments_is_nothing() {
        for text in ["", "\n", "# only\n  # comments\n", "---\n# marks\n...\n"] {
            assert!(parse::<Settings>(text).unwrap().is_none());
        }
    }

    #[test]
    fn no_is_a_name_and_not_a_boolean() {
        assert!(parse::<Settings>("name: no\n").is_ok());
        assert!(parse::<Settings>("name: x\nflag: no\n").is_err());
        assert!(parse::<Settings>("name: x\nflag: false\n").is_ok());
    }

    #[test]
    fn a_mnemonic_is_not_shown() {
        let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
        for place in ["count: W", "list: W", "flag: W", "kind: W", "W: 1", "{ W: 1, W: 1 }"] {
            let text = format!("name: x\n{}\n", place.replace('W', &format!("\"{words}\"")));
            let shown = format!("{:?}", error(&text));
            assert!(!shown.contains("sausage"), "{place}: {shown}");
        }
    }

    proptest! {
        #[test]
        fn a_secret_is_not_shown_wherever_it_was_written(
            secret in "[0-9a-f]{64}|[A-Za-z0-9+/]{43}=|[A-Za-z0-9_-]{43}",
            place in prop::sample::select(vec![
                "count: SECRET", "list: SECRET", "flag: SECRET", "kind: SECRET", "SECRET: 1",
                "list: [SECRET]", "list: [{ SECRET: 1 }]", "list: [{ id: a, size: SECRET }]",
                "name: y\nSECRET", "kind: { SECRET: 1 }", "SECRET", "*SECRET", "count: !SECRET 1",
                "{ SECRET: 1, SECRET: 2 }",
            ]),
        ) {
            let text = format!("name: x\n{}\n", place.replace("SECRET", &secret));
            if let Err(error) = parse::<Settings>(&text) {
                let shown = format!("{error} {error:?}");
                for part in secret.as_bytes().windows(20) {
                    let part = std::str::from_utf8(part).unwrap();
                    prop_assert!(!shown.contains(part), "{place}: {shown}");
                }
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = parse::<Settings>(&text);
        }
    }
}
