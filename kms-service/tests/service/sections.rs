//! What a good section of the settings comes to, and that no section at all makes the check panic.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kms_backend::{Callers, IfMissing};
use kms_keys::{KeyType, SigningScheme};
use kms_secrets::SecretSource;
use kms_service::KmsSection;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::settings::{check, with_key};
use crate::support::*;

/// What the backend's settings say of missing keys holds for the keys that say nothing themselves.
#[test]
fn a_backend_has_a_default_for_missing_keys() {
    let key = |id, rest: Value| {
        let mut key = json!({ "id": id, "type": "ed25519" });
        key.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        key
    };
    let derive = json!({ "derive": { "master": "words", "path": "m/0'" } });
    let section = json!({
        "backends": { "store": { "if_missing": "generate" } },
        "keys": [key("a", json!({})), key("b", json!({ "if_missing": "fail" })), key("c", derive)],
    });
    let settings = check(section).unwrap();
    let said: Vec<_> = settings.keys().iter().map(|key| key.spec.if_missing).collect();
    assert_eq!(said, [IfMissing::Generate, IfMissing::Fail, IfMissing::Generate]);
    let derivation = settings.keys()[2].spec.derivation.as_ref().unwrap();
    assert_eq!(derivation.to_string(), "m/0' of master words");
}

#[test]
fn a_good_section_is_read_field_by_field() {
    let public_key = key_of(&id("full"), KeyType::Bls12381, 1).public_key();
    let full = json!({
        "id": "full", "type": "bls12-381", "backend": "files",
        "source": { "file": "full.key", "encoding": "hex" },
        "public_key": public_key.to_hex(),
        "schemes": ["bls-aug", "bls-basic"],
        "callers": ["Proposer", "Identity"]
    });
    let bare =
        json!({ "id": "bare", "type": "ed25519", "backend": "all", "if_missing": "generate" });
    let env =
        json!({ "id": "env", "type": "secp256k1", "backend": "files", "source": { "env": "E" } });
    let mut section = with_key(full);
    section["keys"].as_array_mut().unwrap().extend([bare, env]);
    section["limits"] = json!({ "queue": 7, "message_bytes": "1KiB", "deadline": "3s" });
    let settings = check(section).unwrap();

    assert_eq!(settings.base_dir(), Path::new("/base"));
    assert_eq!(settings.backends().keys().collect::<Vec<_>>(), ["all", "ed", "files"]);
    assert_eq!(settings.env_names(), ["E"]);
    let limits = settings.limits();
    assert_eq!((limits.queue, limits.message_bytes), (7, 1024));
    assert_eq!(
        (limits.deadline, limits.startup),
        (Duration::from_secs(3), Duration::from_secs(30))
    );

    let [full, bare, env] = settings.keys() else {
        panic!("{settings:?}");
    };
    assert_eq!((full.spec.id.as_str(), full.backend.as_str()), ("full", "files"));
    assert_eq!(full.spec.key_type, KeyType::Bls12381);
    assert_eq!(full.spec.public_key.as_ref(), Some(&public_key));
    assert_eq!(full.spec.if_missing, IfMissing::Fail);
    let schemes = BTreeSet::from([SigningScheme::BlsAug, SigningScheme::BlsBasic]);
    assert_eq!(full.spec.schemes, schemes);
    let callers = BTreeSet::from(["Identity".to_owned(), "Proposer".to_owned()]);
    assert_eq!(full.spec.callers, Callers::Only(callers));
    let Some(SecretSource::File { path, .. }) = &full.spec.source else {
        panic!("{full:?}");
    };
    assert_eq!(*path, PathBuf::from("/base/full.key"));

    assert_eq!((bare.spec.id.as_str(), bare.backend.as_str()), ("bare", "all"));
    assert_eq!((bare.spec.if_missing, &bare.spec.callers), (IfMissing::Generate, &Callers::Every));
    assert_eq!(bare.spec.schemes, BTreeSet::from([SigningScheme::Ed25519]));
    assert_eq!((&bare.spec.source, &bare.spec.public_key), (&None, &None));
    assert_eq!(env.spec.source.as_ref().unwrap().env_name(), Some("E"));
}

#[test]
fn keys_may_be_left_out_and_one_backend_need_not_be_named() {
    for section in
        [json!({ "backends": { "b": {} } }), json!({ "backends": { "b": {} }, "keys": null })]
    {
        assert!(check(section).unwrap().keys().is_empty());
    }
    let key = json!({ "id": "k", "type": "ed25519" });
    let settings = check(json!({ "backends": { "b": {} }, "keys": [key] })).unwrap();
    assert_eq!(settings.keys()[0].backend, "b");
}

/// JSON that has much in common with a section: its field names and values, in any place.
fn json_like_a_section() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "ed25519",
        "secp256k1",
        "bls12-381",
        "bls-pop",
        "all",
        "Identity",
        "generate",
        "a/b",
        "..",
        "5s",
        "1MiB",
        "99999999999999999999",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "backends",
        "keys",
        "limits",
        "id",
        "type",
        "backend",
        "source",
        "file",
        "env",
        "public_key",
        "schemes",
        "callers",
        "if_missing",
        "queue",
        "message_bytes",
        "deadline",
        "startup",
        "only",
    ]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let map = prop::collection::btree_map(names.clone(), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            map.prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_section_panics(
        whole in json_like_a_section(), key in json_like_a_section(), limits in json_like_a_section()
    ) {
        let nearly = json!({ "backends": { "all": {} }, "keys": [key.clone()], "limits": limits });
        let mut full = json!({ "id": "k", "type": "ed25519" });
        if let Value::Object(fields) = key {
            full.as_object_mut().unwrap().extend(fields);
        }
        for section in [whole, nearly, with_key(full)] {
            let checked = catch_unwind(AssertUnwindSafe(|| {
                let read = serde_json::from_value::<KmsSection<FakeSettings>>(section.clone());
                read.ok().map(|read| read.check::<RuntimeServiceId>(Path::new("/base")))
            }));
            prop_assert!(checked.is_ok(), "{section}");
            if let Ok(Some(Err(error))) = checked {
                prop_assert!(!error.problems.is_empty());
            }
        }
    }
}
