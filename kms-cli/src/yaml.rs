//! Settings files: YAML that is read without repeating what could be a secret.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kms_secrets::looks_like_secret;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Deserializer, Track};

use crate::failure::{Failure, Outcome};

/// The largest settings file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// What this command asks somebody else for if it was built with a feature of that name.
const FEATURES: [&str; 3] = ["aws", "pkcs11", "vault"];

/// Reads the file at `path`, which holds `what`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Outcome<T> {
    let refused = |cause: &str| {
        Failure::unavailable(format_args!("settings file {}: {cause}", path.display()))
    };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    read.map_err(|error| refused(&error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(refused(&format!("is larger than {MAX_BYTES} bytes")));
    }
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let mut track = Track::new();
    serde_saphyr::with_deserializer_from_str_with_options(&text, options, |deserializer| {
        T::deserialize(Deserializer::new(deserializer, &mut track))
    })
    .map_err(|error| {
        let line = error.location().map_or(1, |at| at.line());
        let problem = problem(&error.to_string(), what);
        refused(&format!("line {line} ({}): {problem}", track.path()))
    })
}

/// What is wrong, without what was found: somebody may have written a secret there. Names of fields are
/// told, unless they look like one.
fn problem(message: &str, what: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    let message = &message[..end];
    let names = ["missing field", "unknown field", "unknown variant", "duplicate"];
    let is_about_a_name = names.iter().any(|name| message.starts_with(name));
    if !is_about_a_name || message.split(['`', '"', ' ']).any(looks_like_secret) {
        return format!("{what} is not written as expected");
    }
    let absent = |feature: &&&str| message.starts_with(&format!("unknown variant `{feature}`"));
    match FEATURES.iter().find(absent) {
        Some(feature) => format!("{message}; this kms was built without its feature `{feature}`"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_is_missing_is_named_and_a_secret_is_not() {
        let message = "unknown variant `vault`, expected `passphrase` or `key_file` at line 1";
        assert!(problem(message, "x").ends_with("without its feature `vault`"));
        let message = "unknown variant `floppy`, expected `passphrase` or `key_file`";
        assert_eq!(problem(message, "x"), message);
        let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        for message in [format!("unknown field `{secret}`"), format!("invalid type: \"{secret}\"")]
        {
            assert_eq!(problem(&message, "a section"), "a section is not written as expected");
        }
    }
}
