//! Passphrases from files and programs, and their places in settings.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kms_secrets::{
    CommandError, MAX_PASSPHRASE_BYTES, PassphraseError, PassphraseSource, SourceError,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

const TEN_SECONDS: Duration = Duration::from_secs(10);

fn file(dir: &TempDir, content: &[u8], mode: u32) -> PathBuf {
    let path = dir.path().join("passphrase");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn read_file(content: &[u8]) -> Result<Vec<u8>, PassphraseError> {
    let dir = TempDir::new().unwrap();
    read(&PassphraseSource::File { path: file(&dir, content, 0o600), group_readable: false })
}

fn shell(script: &str) -> PassphraseSource {
    let args = vec!["-c".into(), script.into()];
    PassphraseSource::Command { program: "sh".into(), args, timeout: TEN_SECONDS }
}

fn read(source: &PassphraseSource) -> Result<Vec<u8>, PassphraseError> {
    source.read().map(|passphrase| passphrase.expose().to_vec())
}

fn parse(json: &str) -> Result<PassphraseSource, serde_json::Error> {
    serde_json::from_str(json)
}

#[test]
fn one_newline_at_the_end_is_dropped() {
    for (content, expected) in [
        (&b"correct horse"[..], &b"correct horse"[..]),
        (b"correct horse\n", b"correct horse"),
        (b"correct horse\r\n", b"correct horse"),
        (b"correct horse\n\n", b"correct horse\n"),
        (b"correct horse\r", b"correct horse\r"),
        (b" \x00\xff \n", b" \x00\xff "),
        (b"\n\n", b"\n"),
    ] {
        assert_eq!(read_file(content).unwrap(), expected);
    }
}

#[test]
fn an_empty_passphrase_is_none() {
    for content in [&b""[..], b"\n", b"\r\n"] {
        let error = read_file(content).unwrap_err();
        assert!(matches!(error, PassphraseError::Empty { .. }), "{error:?}");
        assert!(error.to_string().ends_with("passphrase has no passphrase: it is empty"));
    }
    for script in ["true", "echo"] {
        let error = read(&shell(script)).unwrap_err();
        assert_eq!(error.to_string(), "program sh has no passphrase: it is empty");
    }
}

#[test]
fn a_passphrase_has_a_greatest_length() {
    let longest = vec![b'a'; MAX_PASSPHRASE_BYTES];
    let with = |end: &[u8]| [&longest[..], end].concat();
    for end in [&b""[..], b"\n", b"\r\n"] {
        assert_eq!(read_file(&with(end)).unwrap(), longest);
    }
    for end in [&b"a"[..], b"a\n", b"\r", b"\n\n", &[b'a'; 70_000]] {
        let error = read_file(&with(end)).unwrap_err();
        assert!(matches!(error, PassphraseError::TooLong { .. }), "{error:?}");
    }
    assert_eq!(read(&shell("printf '%04096d\\r\\n' 0")).unwrap().len(), MAX_PASSPHRASE_BYTES);
    for script in ["printf %04097d 0", "printf %04099d 0", "cat /dev/zero"] {
        let error = read(&shell(script)).unwrap_err();
        assert_eq!(error.to_string(), "program sh has no passphrase: more than 4096 bytes");
    }
}

#[test]
fn a_file_is_checked_like_every_secret_file() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, b"correct horse\n", 0o640);
    let strict = PassphraseSource::File { path: path.clone(), group_readable: false };
    let error = read(&strict).unwrap_err();
    assert!(
        matches!(error, PassphraseError::Source(SourceError::OpenToGroup { mode: 0o640, .. })),
        "{error:?}"
    );
    let relaxed = PassphraseSource::File { path: path.clone(), group_readable: true };
    assert_eq!(read(&relaxed).unwrap(), b"correct horse");
    fs::remove_file(path).unwrap();
    let error = read(&relaxed).unwrap_err();
    assert!(matches!(error, PassphraseError::Source(SourceError::Missing { .. })), "{error:?}");
}

#[test]
fn a_variable_is_read_only_if_it_was_taken() {
    let error = read(&PassphraseSource::Env { name: "PATH".into() }).unwrap_err();
    assert!(matches!(error, PassphraseError::Source(SourceError::NotTaken { .. })), "{error:?}");
}

#[test]
fn a_program_is_asked_and_its_failure_told() {
    assert_eq!(read(&shell("echo correct horse")).unwrap(), b"correct horse");
    let error = read(&shell("echo correct horse; exit 3")).unwrap_err();
    let PassphraseError::Command(cause) = &error else { panic!("{error:?}") };
    assert!(matches!(cause, CommandError::Failed { .. }));
    assert_eq!(cause.to_string(), "program sh failed: exit status: 3");
    assert!(!format!("{error:?}").contains("horse"));
    let hangs = parse(r#"{"command": ["sleep", "60"], "timeout": "200ms"}"#).unwrap();
    let error = read(&hangs).unwrap_err();
    assert!(matches!(error, PassphraseError::Command(CommandError::TimedOut { .. })), "{error:?}");
}

#[test]
fn settings_say_where_a_passphrase_is() {
    let command = |program: &str, args: &[&str], timeout| PassphraseSource::Command {
        program: program.into(),
        args: args.iter().map(ToString::to_string).collect(),
        timeout,
    };
    let file = |group_readable| PassphraseSource::File { path: "a/b".into(), group_readable };
    for (json, expected) in [
        (r#"{"file": "a/b"}"#, file(false)),
        (r#"{"file": "a/b", "group_readable": true}"#, file(true)),
        (r#"{"env": "NAME"}"#, PassphraseSource::Env { name: "NAME".into() }),
        (r#"{"prompt": true}"#, PassphraseSource::Prompt),
        (r#"{"command": ["pass"]}"#, command("pass", &[], TEN_SECONDS)),
        (
            r#"{"command": ["pass", "show", ""], "timeout": "1m 30s"}"#,
            command("pass", &["show", ""], Duration::from_secs(90)),
        ),
    ] {
        assert_eq!(parse(json).unwrap(), expected);
    }
}

#[test]
fn settings_that_say_too_little_or_too_much_are_refused() {
    for (json, expected) in [
        (r#"{}"#, "none of `file`, `env`, `prompt` and `command`"),
        (r#"{"file": "a", "env": "B"}"#, "more than one of"),
        (r#"{"file": "a", "prompt": true}"#, "more than one of"),
        (r#"{"env": "A", "prompt": false}"#, "more than one of"),
        (r#"{"env": "A", "command": ["a"]}"#, "more than one of"),
        (r#"{"prompt": false}"#, "`prompt` takes `true`"),
        (r#"{"env": "1A"}"#, "no name of an environment variable"),
        (r#"{"env": ""}"#, "no name of an environment variable"),
        (r#"{"command": []}"#, "`command` names no program"),
        (r#"{"command": [""]}"#, "`command` names no program"),
        (r#"{"env": "A", "group_readable": true}"#, "`group_readable` goes with `file`"),
        (r#"{"file": "a", "timeout": "1s"}"#, "`timeout` goes with `command`"),
        (r#"{"command": ["a"], "timeout": "0s"}"#, "expected a duration"),
        (r#"{"command": ["a"], "timeout": "61m"}"#, "expected a duration"),
        (r#"{"command": ["a"], "timeout": 10}"#, "expected a duration"),
        (r#"{"file": "a", "encoding": "hex"}"#, "unknown field `encoding`"),
        (r#"{"file": "a", "file": "b"}"#, "duplicate field `file`"),
    ] {
        let error = parse(json).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
}

#[test]
fn a_passphrase_in_place_of_its_source_is_not_shown() {
    for json in [
        r#""98765.25""#,
        r#"98765"#,
        r#"-98765"#,
        r#"98765.25"#,
        r#"["98765"]"#,
        r#"{"file": 98765}"#,
        r#"{"file": ["98765"]}"#,
        r#"{"file": "987654321098765432109876543210ab"}"#,
        r#"{"env": "98765"}"#,
        r#"{"env": 98765}"#,
        r#"{"prompt": "98765"}"#,
        r#"{"prompt": 98765}"#,
        r#"{"command": "98765"}"#,
        r#"{"command": [98765]}"#,
        r#"{"command": {"98765": 98765}}"#,
        r#"{"command": ["a"], "timeout": "98765"}"#,
        r#"{"file": "a", "group_readable": "98765"}"#,
    ] {
        let error = parse(json).unwrap_err();
        assert!(!error.to_string().contains("98765"), "{json}: {error}");
    }
}

#[test]
fn relative_paths_are_taken_from_a_base_and_names_are_not() {
    let relative = |json| parse(json).unwrap().relative_to(Path::new("/etc/node")).to_string();
    assert_eq!(relative(r#"{"file": "data/key"}"#), "file /etc/node/data/key");
    assert_eq!(relative(r#"{"file": "/data/key"}"#), "file /data/key");
    assert_eq!(relative(r#"{"command": ["bin/ask", "x/y"]}"#), "program /etc/node/bin/ask");
    assert_eq!(relative(r#"{"command": ["/bin/ask"]}"#), "program /bin/ask");
    assert_eq!(relative(r#"{"command": ["ask", "x/y"]}"#), "program ask");
    assert_eq!(relative(r#"{"env": "NAME"}"#), "environment variable NAME");
    assert_eq!(relative(r#"{"prompt": true}"#), "the terminal");
}

#[test]
fn the_variable_to_be_taken_is_named() {
    assert_eq!(parse(r#"{"env": "NAME"}"#).unwrap().env_name(), Some("NAME"));
    assert_eq!(parse(r#"{"prompt": true}"#).unwrap().env_name(), None);
}

proptest! {
    #[test]
    fn a_passphrase_is_what_stands_before_the_newline(
        passphrase in vec(any::<u8>(), 1..100),
        newline in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        // A passphrase that ends in CR is told from a CRLF only by the latter.
        prop_assume!(passphrase.last() != Some(&b'\r'));
        prop_assert_eq!(read_file(&[&passphrase[..], newline.as_bytes()].concat()).unwrap(), passphrase);
    }

    #[test]
    fn text_in_place_of_a_source_is_never_shown(text in "[a-z]{12}") {
        for json in [
            format!("\"{text}\""),
            format!("{{\"prompt\": \"{text}\"}}"),
            format!("{{\"command\": \"{text}\"}}"),
            format!("{{\"command\": [\"a\"], \"timeout\": \"{text}\"}}"),
            format!("{{\"env\": \"{text} \"}}"),
        ] {
            prop_assert!(!parse(&json).unwrap_err().to_string().contains(&text));
        }
    }
}
