//! Settings that can be read and don't make a node. No secret is there: none may be looked for.

use crate::support::{Folder, good_with};

/// The good settings with parts replaced.
#[track_caller]
fn refused(changes: &[(&str, &str)], expected: &[(&str, &str)]) {
    let folder = Folder::without_secrets();
    folder.settings(&good_with(changes));
    folder.refused().expect(78, expected);
}

/// The peer's entry with one more field.
#[track_caller]
fn peer_refused(field: &str, cause: &str) {
    let changed = format!("source: {{ file: peer.key }}, {field}");
    refused(&[("source: { file: peer.key }", &changed)], &[("node/peer", cause)]);
}

#[test]
fn impossible_scheme() {
    peer_refused("schemes: [bls-pop]", "bls-pop is impossible for ed25519 keys");
    peer_refused("schemes: [ed25519, bip340]", "bip340 is impossible for ed25519 keys");
    peer_refused("schemes: [rot13]", "unknown signing scheme");
    peer_refused("schemes: []", "is empty");
}

#[test]
fn callers_that_are_no_services() {
    peer_refused("callers: [identity]", "no service has the id `identity`");
    peer_refused("callers: [Identity, Wallet]", "no service has the id `Wallet`");
    peer_refused("callers: []", "is empty");
}

#[test]
fn unknown_backend() {
    peer_refused("backend: vault", "unknown backend; kms.backends has local");
}

#[test]
fn no_backend() {
    let change = ("backends:\n    local: { type: preload }", "backends: {}");
    refused(&[change], &[("kms.backends", "is empty, expected at least one backend")]);
}

#[test]
fn two_backends_and_no_choice() {
    let change =
        ("local: { type: preload }", "local: { type: preload }\n    more: { type: preload }");
    let folder = Folder::without_secrets();
    folder.settings_with(change.0, change.1);
    let refused = folder.refused();
    assert_eq!((refused.code, refused.failures.len()), (78, 7));
    for (_, cause) in refused.causes() {
        assert_eq!(cause, "is missing, expected one of local, more");
    }
}

#[test]
fn no_source() {
    refused(
        &[(", source: { file: peer.key }", "")],
        &[("node/peer", "is missing: backend local reads")],
    );
}

#[test]
fn a_backend_that_generates_no_keys() {
    peer_refused("if_missing: generate", "backend local can't generate keys");
}

#[test]
fn unknown_type() {
    let change = ("id: node/peer, type: ed25519", "id: node/peer, type: rsa");
    let expected = [
        ("node/peer", "unknown key type; expected ed25519, secp256k1 or bls12-381"),
        ("node/peer", "is declared with another type, expected ed25519"),
    ];
    refused(&[change], &expected);
}

/// A consumer's key of the wrong type is refused, too, if the declaration alone is all right.
#[test]
fn a_type_that_the_service_has_no_use_for() {
    let change = ("key: proposer/main", "key: node/peer");
    refused(&[change], &[("node/peer", "is declared with another type, expected secp256k1")]);
}

#[test]
fn duplicate_id() {
    let change = ("id: attester/3", "id: attester/2");
    let expected = [
        ("attester/2", "kms.keys[5] has the same id"),
        ("attester/3", "is not declared in kms.keys"),
    ];
    refused(&[change], &expected);
}

#[test]
fn invalid_ids() {
    let long = "a".repeat(129);
    for (id, cause) in [
        ("''", "a key id is empty"),
        (long.as_str(), "at most 128 bytes, this one has 129"),
        ("a//b", "empty segment at byte 2"),
        ("/a", "empty segment at byte 0"),
        ("a/", "empty segment at byte 2"),
        ("'.'", "'.'"),
        ("a/../b", "'..'"),
        ("a b", "character ' ' at byte 1"),
        ("schlüssel", "character '\\u{fc}' at byte 4"),
        ("'a:b'", "character ':' at byte 1"),
        ("'a\\b'", "at byte 1"),
        ("\"a\\0b\"", "character '\\u{0}' at byte 1"),
        ("\"a\\nb\"", "character '\\n' at byte 1"),
    ] {
        let id = format!("id: {id}, type");
        let change = ("id: node/peer, type", id.as_str());
        let expected = [("kms.keys[1].id", cause), ("node/peer", "is not declared in kms.keys")];
        refused(&[change], &expected);
    }
}

/// The service itself can do without keys. Its consumers can't.
#[test]
fn no_keys() {
    let start = "kms:\n  backends:\n    local: { type: preload }\n";
    let rest = crate::support::GOOD.split_once("identity: {").unwrap().1;
    for keys in ["", "  keys: []\n", "  keys:\n"] {
        let folder = Folder::without_secrets();
        folder.settings(&format!("{start}{keys}identity: {{{rest}"));
        let refused = folder.refused();
        let fields: Vec<_> =
            refused.failures.iter().map(|failure| failure["field"].as_str().unwrap()).collect();
        let expected = [
            "identity.key",
            "identity.peer",
            "proposer.key",
            "attesters.keys[0]",
            "attesters.keys[1]",
            "attesters.keys[2]",
            "attesters.keys[3]",
        ];
        assert_eq!((refused.code, fields), (78, expected.to_vec()), "{keys}");
    }
}

#[test]
fn consumers_that_make_no_sense() {
    refused(
        &[("peer: node/peer", "peer: node/identity")],
        &[("identity.peer", "is the same key as identity.key")],
    );
    refused(&[("slot: 10ms", "slot: 0s")], &[("proposer.slot", "is zero")]);
    refused(
        &[("keys: [attester/0, attester/1, attester/2, attester/3]", "keys: []")],
        &[("attesters.keys", "is empty")],
    );
    refused(&[("keys: [attester/0,", "keys: [attester/1,")], &[("attester/1", "is listed twice")]);
}

#[test]
fn keys_that_their_consumers_may_not_use() {
    let of = |file: &str| format!("source: {{ file: {file} }}");
    for (file, rule, key, expected) in [
        ("identity.key", "callers: [Proposer]", "node/identity", "`callers` of the key don't list"),
        ("peer.key", "callers: [Kms]", "node/peer", "`callers` of the key don't list Identity"),
        ("proposer.key", "schemes: [bip340]", "proposer/main", "don't list ecdsa-sha256"),
        ("attester-3.key", "schemes: [bls-basic]", "attester/3", "don't list bls-pop"),
    ] {
        let ruled = format!("{}, {rule}", of(file));
        refused(&[(of(file).as_str(), ruled.as_str())], &[(key, expected)]);
    }
}

#[test]
fn limits_out_of_range() {
    let limits = "  keys:\n";
    let changed =
        "  limits: { queue: 0, message_bytes: 65MiB, deadline: 0s, startup: 2days }\n  keys:\n";
    let expected = [
        ("kms.limits.queue", "0 is not 1 to 65536"),
        ("kms.limits.message_bytes", "is not 1 to 64MiB"),
        ("kms.limits.deadline", "is not above zero"),
        ("kms.limits.startup", "up to a day"),
    ];
    refused(&[(limits, changed)], &expected);
}
