//! What is found wrong with a section before anything is touched: which field, and what was expected.

use std::path::Path;

use kms_service::{KmsSection, KmsSettings, SettingsError};
use serde_json::{Value, json};

use crate::support::*;

pub fn check(section: Value) -> Result<KmsSettings<FakeSettings>, SettingsError> {
    let section: KmsSection<FakeSettings> = serde_json::from_value(section).unwrap();
    section.check::<RuntimeServiceId>(Path::new("/base"))
}

/// The problems of a section, as they are shown.
fn problems(section: Value) -> Vec<String> {
    let error = check(section).expect_err("nothing was found");
    let shown: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
    let expected = "the settings of the key management service are wrong\n  ".to_owned();
    assert_eq!(error.to_string(), expected + &shown.join("\n  "));
    shown
}

/// A section with three backends and this key.
pub fn with_key(key: Value) -> Value {
    json!({
        "backends": {
            "all": {},
            "files": { "needs_source": true, "plain": true },
            "ed": { "only": ["ed25519"] }
        },
        "keys": [key]
    })
}

#[test]
fn a_key_that_cannot_be_is_refused_by_field() {
    let cases = [
        (
            json!({ "id": "a b", "type": "ed25519", "backend": "all" }),
            "kms.keys[0].id: character ' ' at byte 1; a key id is made of A-Z, a-z, 0-9, '.', '_', \
             '-' and '/'",
        ),
        (
            json!({ "id": "", "type": "ed25519", "backend": "all" }),
            "kms.keys[0].id: a key id is empty",
        ),
        (
            json!({ "id": "k", "type": "rsa", "backend": "all" }),
            "kms.keys[0].type (key k): unknown key type; expected ed25519, secp256k1 or bls12-381",
        ),
        (
            json!({ "id": "k", "type": "ed25519", "backend": "none" }),
            "kms.keys[0].backend (key k): unknown backend; kms.backends has all, ed, files",
        ),
        (
            json!({ "id": "k", "type": "ed25519" }),
            "kms.keys[0].backend (key k): is missing, expected one of all, ed, files",
        ),
        (
            json!({ "id": "k", "type": "bls12-381", "backend": "ed" }),
            "kms.keys[0].type (key k): backend ed holds no bls12-381 keys",
        ),
        (
            json!({ "id": "k", "type": "ed25519", "backend": "all", "schemes": ["bls-pop"] }),
            "kms.keys[0].schemes (key k): bls-pop is impossible for ed25519 keys",
        ),
        (
            json!({ "id": "k", "type": "ed25519", "backend": "all", "schemes": ["rot13"] }),
            "kms.keys[0].schemes (key k): unknown signing scheme; expected ed25519, \
             ecdsa-sha256, ecdsa-digest, bip340, bls-basic, bls-aug, bls-pop or bls-pop-prove",
        ),
        (
            json!({ "id": "k", "type": "ed25519", "backend": "all", "schemes": [] }),
            "kms.keys[0].schemes (key k): is empty: the key could sign nothing",
        ),
        (
            json!({ "id": "k", "type": "ed25519", "backend": "all", "callers": [] }),
            "kms.keys[0].callers (key k): is empty: no service could use the key",
        ),
        (
            json!({ "id": "k", "type": "ed25519", "backend": "files" }),
            "kms.keys[0].source (key k): is missing: backend files reads { file: PATH } or \
             { env: NAME }",
        ),
        (
            json!({ "id": "k", "type": "ed25519", "backend": "all", "source": { "file": "x" } }),
            "kms.keys[0].source (key k): backend all has its own secrets and takes none",
        ),
        (
            json!({
                "id": "k", "type": "ed25519", "backend": "files", "source": { "env": "X" },
                "if_missing": "generate"
            }),
            "kms.keys[0].if_missing (key k): backend files can't generate keys",
        ),
        (
            json!({
                "id": "k", "type": "ed25519", "backend": "files", "source": { "env": "X" },
                "derive": { "master": "m", "path": "m/0'" }
            }),
            "kms.keys[0].derive (key k): backend files can't derive keys",
        ),
        (
            json!({
                "id": "k", "type": "ed25519", "backend": "all",
                "derive": { "master": "m", "path": "m/44'/0" }
            }),
            "kms.keys[0].derive.path (key k): step 2 must be hardened: ed25519 keys have no other \
             (SLIP-0010)",
        ),
        (
            json!({
                "id": "k", "type": "ed25519", "backend": "all",
                "derive": { "master": "a//b", "path": "m/0'" }
            }),
            "kms.keys[0].derive.master (key k): empty segment at byte 2 of the key id",
        ),
    ];
    for (key, expected) in cases {
        assert_eq!(problems(with_key(key)), [expected]);
    }
}

#[test]
fn unknown_callers_and_bad_public_keys_are_refused_with_what_was_expected() {
    // The text after the field is of the framework and of the key's type.
    let caller = json!({ "id": "k", "type": "ed25519", "backend": "all", "callers": ["identity"] });
    let found = problems(with_key(caller));
    assert!(found[0].starts_with("kms.keys[0].callers (key k): "), "{found:?}");
    assert!(found[0].contains("identity") && found[0].contains("Identity"), "{found:?}");
    for pin in ["", "00", "zz", &"ff".repeat(32), &"0".repeat(1000)] {
        let key = json!({ "id": "k", "type": "ed25519", "backend": "all", "public_key": pin });
        let found = problems(with_key(key));
        let expected = "kms.keys[0].public_key (key k): no ed25519 public key in hex: ";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn the_rest_of_a_section_is_refused_by_field() {
    let key = json!({ "id": "k", "type": "ed25519" });
    assert_eq!(
        problems(json!({ "backends": {}, "keys": [key.clone()] })),
        ["kms.backends: is empty, expected at least one backend"]
    );
    assert_eq!(
        problems(json!({ "backends": { "all": {} }, "keys": [key.clone(), key.clone(), key] })),
        [
            "kms.keys[1].id (key k): kms.keys[0] has the same id",
            "kms.keys[2].id (key k): kms.keys[0] has the same id",
        ]
    );
    let limits = json!({ "queue": 0, "message_bytes": 0, "deadline": "0s", "startup": "2days" });
    assert_eq!(
        problems(json!({ "backends": { "all": {} }, "limits": limits })),
        [
            "kms.limits.queue: 0 is not 1 to 65536",
            "kms.limits.message_bytes: 0 is not 1 to 64MiB",
            "kms.limits.deadline: 0ns is not above zero and up to a day",
            "kms.limits.startup: 172800s is not above zero and up to a day",
        ]
    );
}

#[test]
fn a_backend_that_imports_takes_keys_with_a_source_and_without() {
    let section = json!({
        "backends": { "hsm": { "imports": true } },
        "keys": [
            { "id": "old", "type": "ed25519", "source": { "file": "old.key" } },
            { "id": "new", "type": "ed25519", "if_missing": "generate" },
            { "id": "env", "type": "ed25519", "source": { "env": "X" }, "if_missing": "generate" }
        ]
    });
    let settings = check(section).unwrap();
    assert_eq!(settings.env_names(), ["X"]);
    let sources =
        settings.keys().iter().map(|key| key.spec.source.as_ref().map(ToString::to_string));
    let expected = [Some("file /base/old.key"), None, Some("environment variable X")];
    assert_eq!(sources.collect::<Vec<_>>(), expected.map(|source| source.map(str::to_owned)));
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let section = json!({
        "backends": { "all": {} },
        "keys": [
            { "id": "a", "type": "rsa", "backend": "none", "callers": [] },
            {
                "id": "b", "type": "ed25519", "public_key": "00", "schemes": ["bip340", "ed25519"],
                "callers": ["Nobody", "Nothing"], "source": { "env": "X" }
            },
            { "id": "good", "type": "ed25519" },
            { "id": "b", "type": "secp256k1" }
        ],
        "limits": { "queue": 100_000 }
    });
    let fields: Vec<_> =
        check(section).unwrap_err().problems.into_iter().map(|problem| problem.field).collect();
    let expected = [
        "kms.limits.queue",
        "kms.keys[0].type",
        "kms.keys[0].backend",
        "kms.keys[0].callers",
        "kms.keys[1].callers",
        "kms.keys[1].callers",
        "kms.keys[1].source",
        "kms.keys[1].public_key",
        "kms.keys[1].schemes",
        "kms.keys[3].id",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn unknown_fields_and_variants_are_refused_by_name() {
    for (section, expected) in [
        (json!({ "backends": {}, "kees": [] }), "unknown field `kees`"),
        (json!({ "keys": [] }), "missing field `backends`"),
        (with_key(json!({ "id": "k" })), "missing field `type`"),
        (with_key(json!({ "id": "k", "type": "x", "scheme": [] })), "unknown field `scheme`"),
        (
            with_key(json!({ "id": "k", "type": "x", "if_missing": "make" })),
            "unknown variant `make`, expected `fail` or `generate`",
        ),
        (
            with_key(json!({ "id": "k", "type": "x", "source": { "secret": "00" } })),
            "unknown field `secret`",
        ),
    ] {
        let error = serde_json::from_value::<KmsSection<FakeSettings>>(section).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
