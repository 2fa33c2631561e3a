//! What [`kms_secrets::environment::take`] leaves behind: nothing.
//!
//! The program starts itself again with a secret in its environment, because the environment that
//! counts is the one a process was started with.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check ends the test program")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use kms_secrets::{
    DecodedSecret, PassphraseError, PassphraseSource, SecretSource, SourceError, environment,
};

const SECRET: &str = "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a698";

fn main() {
    if std::env::var_os("KMS_TEST_CHILD").is_some() {
        child();
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .arg0("environment-child")
        .env_clear()
        .env("KMS_TEST_CHILD", "1")
        .env("KMS_TEST_KEY", SECRET)
        .env("KMS_TEST_KEY_LONGER", "kept")
        .env("KMS_TEST_EMPTY", "")
        .env("KMS_TEST_PASSPHRASE", "correct horse\n")
        .env("KMS_TEST_LARGE", "ab".repeat(40_000))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "every check held\n");
    println!("what is taken leaves nothing behind: ok");
}

fn child() {
    assert!(initial_environment_holds(SECRET), "the check can't fail");
    let names = ["KMS_TEST_KEY", "KMS_TEST_EMPTY", "KMS_TEST_LARGE", "KMS_TEST_UNSET", "", "A=B"];
    let names = names.into_iter().chain(["KMS_TEST_PASSPHRASE"]);
    environment::take(names).unwrap();

    assert!(std::env::var_os("KMS_TEST_KEY").is_none());
    assert_eq!(std::env::var("KMS_TEST_KEY_LONGER").unwrap(), "kept");
    assert!(!initial_environment_holds(SECRET));
    assert!(!initial_environment_holds("abababababababab"));

    for _ in 0..2 {
        let DecodedSecret::Bytes(secret) = read("KMS_TEST_KEY").unwrap() else { panic!("PEM") };
        assert_eq!(secret.len(), SECRET.len() / 2);
        assert_eq!(secret.expose()[..4], [0xc5, 0x52, 0x57, 0xc3]);
    }
    assert!(matches!(read("KMS_TEST_EMPTY"), Err(SourceError::Empty { .. })));
    assert!(matches!(read("KMS_TEST_LARGE"), Err(SourceError::TooLarge { .. })));
    assert!(matches!(read("KMS_TEST_UNSET"), Err(SourceError::Unset { .. })));

    let passphrase = |name: &str| PassphraseSource::Env { name: name.into() }.read();
    assert_eq!(passphrase("KMS_TEST_PASSPHRASE").unwrap().expose(), b"correct horse");
    assert!(matches!(passphrase("KMS_TEST_EMPTY"), Err(PassphraseError::Empty { .. })));
    assert!(matches!(passphrase("KMS_TEST_LARGE"), Err(PassphraseError::TooLong { .. })));
    assert!(matches!(
        passphrase("KMS_TEST_UNSET"),
        Err(PassphraseError::Source(SourceError::Unset { .. }))
    ));

    environment::take(["KMS_TEST_KEY"]).unwrap();
    assert!(read("KMS_TEST_KEY").is_ok(), "a second taking keeps what the first one took");
    println!("every check held");
}

fn read(name: &str) -> Result<DecodedSecret, SourceError> {
    SecretSource::Env { name: name.into(), encoding: None }.read()
}

/// What anybody with access to `/proc` would see.
fn initial_environment_holds(text: &str) -> bool {
    let environ = std::fs::read("/proc/self/environ").unwrap();
    environ.windows(text.len()).any(|window| window == text.as_bytes())
}
