//! A node's settings.

use std::path::Path;

use node_example::refusal::Refusal;
use node_example::settings::NodeSettings;

/// Settings in YAML. What is refused is refused without showing what could be a secret.
pub fn settings(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else {
        return false;
    };
    let read = || NodeSettings::from_yaml(text, "settings", Path::new("base"));
    match (read(), read()) {
        (Ok(settings), Ok(again)) => {
            assert!(!settings.attesters.keys.is_empty());
            assert_eq!(format!("{:?}", settings.kms.keys()), format!("{:?}", again.kms.keys()));
            true
        }
        (Err(refusal), Err(again)) => {
            assert_eq!(refusal, again);
            assert!(!refusal.failures.is_empty());
            shows_no_secret(&refusal, text);
            false
        }
        (read, _) => unreachable!("accepted once and refused once: {read:?}"),
    }
}

/// The shortest secrets, of 16 bytes, have 22 letters in base64. Names of keys may be longer, but
/// none of their segments has the 43 letters of a secret of 32 bytes.
fn shows_no_secret(refusal: &Refusal, text: &str) {
    for failure in &refusal.failures {
        for shown in [Some(&failure.cause), failure.field.as_ref()].into_iter().flatten() {
            let words = shown.split(|c: char| !is_secret_like(c));
            let long = words.filter(|word| word.len() >= 22 && text.contains(word));
            assert_eq!(long.collect::<Vec<_>>(), Vec::<&str>::new(), "{shown}");
        }
        if let Some(key) = &failure.key {
            assert!(key.split(['/', '.']).all(|segment| segment.len() < 43), "{key}");
        }
    }
}

/// The letters of hexadecimal and of base64 in either alphabet.
fn is_secret_like(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_')
}
