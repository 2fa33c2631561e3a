//! Credentials files, as AWS' own tools write them: sections of `name = value`.

use std::path::{Path, PathBuf};

use kms_backend::{BackendError, Failure};
use kms_secrets::{DecodedSecret, Encoding, SecretBytes, SecretSource};

use crate::credentials::{Found, text};

/// Where the file is that no settings name.
pub(crate) fn default_file() -> Result<PathBuf, BackendError> {
    let named = text("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let home = || text("HOME").map(|home| Path::new(&home).join(".aws").join("credentials"));
    named.or_else(home).ok_or_else(|| {
        misconfigured(
            "there are no credentials: none in the environment, no web identity, and no `HOME` to \
             look for a credentials file in"
                .into(),
        )
    })
}

/// Reads a profile. Blocks on file I/O.
pub(crate) fn read(file: &Path, profile: &str) -> Result<Found, BackendError> {
    let source = SecretSource::File {
        path: file.to_owned(),
        encoding: Some(Encoding::Raw),
        group_readable: false,
    };
    match source.read() {
        Ok(DecodedSecret::Bytes(text)) => parse(text.expose(), profile)
            .map_err(|what| misconfigured(format!("credentials file {}: {what}", file.display()))),
        Ok(DecodedSecret::Pem { .. }) => Err(misconfigured("not a credentials file".into())),
        Err(cause) => Err(BackendError::Misconfigured(Failure::because(
            "the credentials of AWS can't be read",
            cause,
        ))),
    }
}

fn parse(text: &[u8], profile: &str) -> Result<Found, String> {
    let (mut inside, mut seen) = (false, false);
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if let Some(section) = line.strip_prefix(b"[") {
            let name = section.strip_suffix(b"]").map(<[u8]>::trim_ascii);
            inside = name == Some(profile.as_bytes());
            seen |= inside;
        } else if inside && !line.starts_with(b"#") && !line.starts_with(b";") {
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
            let (name, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
            match name {
                b"aws_access_key_id" => id = Some(value),
                b"aws_secret_access_key" => secret = Some(value),
                b"aws_session_token" => token = Some(value).filter(|value| !value.is_empty()),
                _ => {}
            }
        }
    }
    if !seen {
        return Err(format!("there is no profile {profile}"));
    }
    let given = |value: Option<&[u8]>, name: &str| {
        let value = value.unwrap_or_default();
        if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
            return Err(format!("profile {profile} has no `{name}`, or something else there"));
        }
        Ok(SecretBytes::from_slice(value))
    };
    Ok(Found {
        access_key_id: String::from_utf8_lossy(given(id, "aws_access_key_id")?.expose()).into(),
        secret_access_key: given(secret, "aws_secret_access_key")?,
        session_token: token.map(|token| given(Some(token), "aws_session_token")).transpose()?,
        expires: None,
    })
}

fn misconfigured(what: String) -> BackendError {
    BackendError::Misconfigured(Failure::new(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] =
        b"# mine\n[default]\naws_access_key_id=AKIA1\naws_secret_access_key = s1\n\n\
        [node]\r\naws_access_key_id = AKIA2 \r\naws_secret_access_key = s=2/+\r\n\
        aws_session_token = t2\r\nregion = x\r\n[empty]\naws_access_key_id = AKIA3\n\
        ; aws_secret_access_key = s3\n";

    #[test]
    fn a_profile_is_found_by_its_name() {
        let first = parse(FILE, "default").unwrap();
        assert_eq!(first.access_key_id, "AKIA1");
        assert_eq!(first.secret_access_key.expose(), b"s1");
        assert!(first.session_token.is_none() && first.expires.is_none());
        let second = parse(FILE, "node").unwrap();
        assert_eq!(second.access_key_id, "AKIA2");
        assert_eq!(second.secret_access_key.expose(), b"s=2/+");
        assert_eq!(second.session_token.unwrap().expose(), b"t2");
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_shown() {
        let refused = |text: &[u8], profile| parse(text, profile).err().unwrap();
        assert_eq!(refused(FILE, "other"), "there is no profile other");
        let missing = refused(FILE, "empty");
        assert!(missing.contains("aws_secret_access_key") && !missing.contains("s3"), "{missing}");
        let odd = refused(b"[a]\naws_access_key_id = A B\naws_secret_access_key = s", "a");
        assert!(odd.contains("aws_access_key_id") && !odd.contains("A B"), "{odd}");
        refused(b"", "default");
        refused(&[0xff; 100], "default");
    }
}
