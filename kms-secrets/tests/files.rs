//! Secret files of every shape that must be refused, and the ones that must not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't set up its files fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kms_secrets::{
    DecodeError, DecodedSecret, Encoding, MAX_SOURCE_BYTES, SecretSource, SourceError,
};
use tempfile::TempDir;

const TEXT: &str = "9d61b19deffd5a60ba844af492ec2cc4";

fn file(dir: &TempDir, content: &[u8], mode: u32) -> PathBuf {
    let path = dir.path().join("secret");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn source(path: &Path) -> SecretSource {
    SecretSource::File { path: path.into(), encoding: None, group_readable: false }
}

fn read(source: &SecretSource) -> Result<Vec<u8>, SourceError> {
    source.read().map(|decoded| match decoded {
        DecodedSecret::Bytes(secret) => secret.expose().to_vec(),
        DecodedSecret::Pem { .. } => panic!("no PEM here"),
    })
}

#[test]
fn a_private_file_is_read() {
    let dir = TempDir::new().unwrap();
    for mode in [0o600, 0o400, 0o700] {
        let bytes = read(&source(&file(&dir, TEXT.as_bytes(), mode))).unwrap();
        assert_eq!(bytes.len(), 16);
        fs::remove_file(dir.path().join("secret")).unwrap();
    }
}

#[test]
fn a_symbolic_link_is_followed_and_its_target_checked() {
    let dir = TempDir::new().unwrap();
    let target = file(&dir, TEXT.as_bytes(), 0o600);
    let link = dir.path().join("link");
    symlink(&target, &link).unwrap();
    assert_eq!(read(&source(&link)).unwrap().len(), 16);

    fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(read(&source(&link)), Err(SourceError::OpenToOthers { mode: 0o644, .. })));
}

#[test]
fn a_file_open_to_others_is_refused_even_with_group_readable() {
    let dir = TempDir::new().unwrap();
    for mode in [0o604, 0o602, 0o644, 0o666] {
        let path = file(&dir, TEXT.as_bytes(), mode);
        let relaxed = SecretSource::File { path, encoding: None, group_readable: true };
        match read(&relaxed) {
            Err(SourceError::OpenToOthers { mode: found, .. }) => assert_eq!(found, mode),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_open_to_its_group_needs_group_readable() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, TEXT.as_bytes(), 0o640);
    assert!(matches!(read(&source(&path)), Err(SourceError::OpenToGroup { mode: 0o640, .. })));
    let relaxed = SecretSource::File { path, encoding: None, group_readable: true };
    assert_eq!(read(&relaxed).unwrap().len(), 16);
    file(&dir, TEXT.as_bytes(), 0o660);
    assert!(matches!(read(&relaxed), Err(SourceError::OpenToGroup { mode: 0o660, .. })));
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let dir = TempDir::new().unwrap();
    match read(&source(dir.path())) {
        Err(SourceError::NotRegular { found, .. }) => assert_eq!(found, "a directory"),
        other => panic!("{other:?}"),
    }
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status();
    assert!(made.unwrap().success());
    match read(&source(&pipe)) {
        Err(SourceError::NotRegular { found, .. }) => assert_eq!(found, "a named pipe"),
        other => panic!("{other:?}"),
    }
    match read(&source(Path::new("/dev/null"))) {
        Err(SourceError::NotRegular { found, .. }) => assert_eq!(found, "a device"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_file_is_told_from_an_unreadable_one() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(read(&source(&dir.path().join("x"))), Err(SourceError::Missing { .. })));
    let path = file(&dir, TEXT.as_bytes(), 0o600);
    assert!(matches!(read(&source(&path.join("below"))), Err(SourceError::Unreadable { .. })));
}

#[test]
fn empty_and_oversized_files_are_refused() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(read(&source(&file(&dir, b"", 0o600))), Err(SourceError::Empty { .. })));
    let largest = "ab".repeat(MAX_SOURCE_BYTES / 2);
    let bytes = read(&source(&file(&dir, largest.as_bytes(), 0o600))).unwrap();
    assert_eq!(bytes.len(), MAX_SOURCE_BYTES / 2);
    let path = file(&dir, format!("{largest}\n").as_bytes(), 0o600);
    assert!(matches!(read(&source(&path)), Err(SourceError::TooLarge { .. })));
}

#[test]
fn a_badly_encoded_file_is_named_and_not_shown() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, format!("{TEXT}zz").as_bytes(), 0o600);
    let error = read(&source(&path)).unwrap_err();
    let SourceError::Decode { cause, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*cause, DecodeError::NotHex { position: 33 });
    assert!(error.to_string().contains("secret is not well encoded"), "{error}");
    assert!(!format!("{error} {error:?}").contains(&TEXT[..8]));
}

#[test]
fn the_encoding_can_be_given() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, b"AP+r\n", 0o600);
    let given = |encoding| SecretSource::File {
        path: path.clone(),
        encoding: Some(encoding),
        group_readable: false,
    };
    assert_eq!(read(&given(Encoding::Base64)).unwrap(), [0x00, 0xff, 0xab]);
    assert_eq!(read(&given(Encoding::Raw)).unwrap(), b"AP+r\n");
    assert!(matches!(read(&given(Encoding::Pem)), Err(SourceError::Decode { .. })));
}

#[test]
fn a_variable_that_was_never_set_is_named() {
    let unset = SecretSource::Env { name: "KMS_SECRETS_NEVER_SET".into(), encoding: None };
    let error = unset.read().unwrap_err();
    assert_eq!(error.to_string(), "environment variable KMS_SECRETS_NEVER_SET is not set");
}

#[test]
fn a_variable_that_was_not_taken_is_told_from_one_that_is_unset() {
    let path = SecretSource::Env { name: "PATH".into(), encoding: None };
    assert!(matches!(path.read(), Err(SourceError::NotTaken { .. })));
}

#[test]
fn the_environment_is_not_changed_while_other_threads_run() {
    let error = kms_secrets::environment::take(["PATH"]).unwrap_err();
    assert!(error.to_string().contains("threads are running"), "{error}");
    assert!(std::env::var_os("PATH").is_some());
}

#[test]
fn settings_say_where_a_secret_is() {
    let parse = |json: &str| serde_json::from_str::<SecretSource>(json);
    assert_eq!(
        parse(r#"{"file": "a/b", "encoding": "base64", "group_readable": true}"#).unwrap(),
        SecretSource::File {
            path: "a/b".into(),
            encoding: Some(Encoding::Base64),
            group_readable: true
        }
    );
    assert_eq!(
        parse(r#"{"env": "NAME"}"#).unwrap(),
        SecretSource::Env { name: "NAME".into(), encoding: None }
    );
    for (json, expected) in [
        (r#"{}"#, "neither `file` nor `env`"),
        (r#"{"file": "a", "env": "B"}"#, "both `file` and `env`"),
        (r#"{"env": "A=B"}"#, "no name of an environment variable"),
        (r#"{"env": ""}"#, "no name of an environment variable"),
        (r#"{"env": "A B"}"#, "no name of an environment variable"),
        (r#"{"env": "1A"}"#, "no name of an environment variable"),
        (r#"{"env": "A", "group_readable": true}"#, "`group_readable` goes with `file`"),
        (r#"{"file": "a", "hex": "b"}"#, "unknown field `hex`"),
        (r#"{"file": "a", "encoding": "rot13"}"#, "unknown variant `rot13`"),
    ] {
        let error = parse(json).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
}

#[test]
fn a_secret_in_place_of_its_source_is_not_shown() {
    for json in [
        format!("\"{TEXT}\""),
        format!("{{\"file\": \"{TEXT}\"}}"),
        format!("{{\"env\": \"{TEXT}\"}}"),
        format!("{{\"env\": \"c{}\"}}", &TEXT[1..]),
    ] {
        let error = serde_json::from_str::<SecretSource>(&json).unwrap_err();
        assert!(error.to_string().contains("secrets don't belong in settings"), "{error}");
        assert!(!error.to_string().contains(&TEXT[1..8]), "{error}");
    }
}

#[test]
fn relative_paths_are_taken_from_a_base() {
    let relative = source(Path::new("data/key")).relative_to(Path::new("/etc/node"));
    assert_eq!(relative.to_string(), "file /etc/node/data/key");
    let absolute = source(Path::new("/data/key")).relative_to(Path::new("/etc/node"));
    assert_eq!(absolute.to_string(), "file /data/key");
}
