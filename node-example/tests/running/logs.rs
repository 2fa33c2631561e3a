//! No log holds a secret, at any level.

use std::process::Output;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};

use crate::support::{Folder, KEYS, good_with, leaks, pem};

fn traced(folder: &Folder, environment: &[(&str, &str)]) -> Output {
    let mut command = folder.command_for(3);
    command.env("RUST_LOG", "trace").envs(environment.iter().copied());
    command.output().unwrap()
}

fn has_log(output: &Output) {
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "there is a log: {log}");
}

#[test]
fn run() {
    let folder = Folder::good();
    folder.settings(&good_with(&[
        ("{ file: identity.key }", "{ env: IDENTITY_KEY }"),
        ("{ file: attester-0.key }", "{ file: attester-0.key, encoding: base64 }"),
        ("{ file: attester-1.key }", "{ file: attester-1.key, encoding: raw }"),
    ]));
    let bytes = |index: usize| base16ct::lower::decode_vec(KEYS[index].secret).unwrap();
    folder.secret("attester-0.key", Base64::encode_string(&bytes(0)).as_bytes());
    folder.secret("attester-1.key", &bytes(1));
    folder.secret("peer.key", pem::ed25519(KEYS[5].secret).as_bytes());
    let output = traced(&folder, &[("IDENTITY_KEY", KEYS[4].secret)]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    has_log(&output);
    leaks::none_in(&output);
}

/// Every secret is read, and something is wrong with it or its key.
#[test]
fn refusal() {
    let folder = Folder::good();
    folder.settings(&good_with(&[
        ("{ file: identity.key }", "{ env: IDENTITY_KEY, encoding: base64 }"),
        ("{ file: attester-0.key }", "{ file: attester-0.key, encoding: base64 }"),
        ("{ file: attester-1.key }", "{ file: attester-1.key, encoding: raw }"),
        ("{ file: attester-2.key }", "{ file: attester-2.key }, public_key: a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a"),
    ]));
    folder.secret("peer.key", pem::secp256k1(KEYS[5].secret).as_bytes());
    folder.secret("proposer.key", format!("{}zz", KEYS[6].secret).as_bytes());
    folder.secret("attester-3.key", format!("{}00", KEYS[3].secret).as_bytes());
    let output = traced(&folder, &[("IDENTITY_KEY", KEYS[4].secret)]);
    assert_eq!(output.status.code(), Some(69));
    has_log(&output);
    leaks::none_in(&output);
}

/// The search finds what it is there to find, in a log as in a report.
#[test]
fn planted_leaks_are_found() {
    for key in &KEYS {
        let secret = base16ct::lower::decode_vec(key.secret).unwrap();
        let part = &secret[10..25];
        for leak in [
            key.secret.to_owned(),
            key.secret.to_uppercase(),
            key.secret[20..44].to_owned(),
            Base64::encode_string(&secret),
            Base64UrlUnpadded::encode_string(&secret),
            pem::ed25519(key.secret),
            pem::secp256k1(key.secret),
            bs58::encode(&secret).into_string(),
            format!("{secret:?}"),
            format!("{secret:#?}"),
            format!("{part:?}"),
            format!("{part:02x?}"),
            format!("{part:#04x?}"),
        ] {
            let log = format!("TRACE kms: loaded key=\"{leak}\" from file\n");
            assert!(leaks::find(log.as_bytes()).is_some(), "not found: {log}");
        }
        let raw = [b"key: ", secret.as_slice(), b"\n"].concat();
        assert!(leaks::find(&raw).is_some());
        assert_eq!(leaks::find(key.public.as_bytes()), None);
    }
}
