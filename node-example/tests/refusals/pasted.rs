//! Secrets that somebody pasted into the settings: refused, and never shown.

use base64ct::{Base64, Encoding};

use crate::support::{Folder, KEYS, good_with};

/// Where a secret was pasted: a part of the good settings, and what somebody made of it.
const PLACES: [(&str, &str); 24] = [
    ("{ file: peer.key }", "SECRET"),
    ("{ file: peer.key }", "[SECRET]"),
    ("{ file: peer.key }", "{ file: SECRET }"),
    ("{ file: peer.key }", "{ env: SECRET }"),
    ("{ file: peer.key }", "{ SECRET: peer.key }"),
    ("{ file: peer.key }", "{ hex: SECRET }"),
    ("{ file: peer.key }", "{ file: peer.key, encoding: SECRET }"),
    ("{ file: peer.key }", "{ file: peer.key, group_readable: SECRET }"),
    ("{ file: peer.key }", "{ file: peer.key, secret: SECRET }"),
    ("{ file: peer.key }", "{ file: peer.key }, SECRET: x"),
    ("{ file: peer.key }", "{ file: peer.key }, public_key: [SECRET]"),
    ("{ file: peer.key }", "{ file: peer.key }, backend: SECRET"),
    ("{ file: peer.key }", "{ file: peer.key }, schemes: [SECRET]"),
    ("{ file: peer.key }", "{ file: peer.key }, schemes: SECRET"),
    ("{ file: peer.key }", "{ file: peer.key }, callers: [SECRET]"),
    ("{ file: peer.key }", "{ file: peer.key }, if_missing: SECRET"),
    ("id: node/peer", "id: [SECRET]"),
    ("type: preload", "type: SECRET"),
    ("identity: { key: node/identity, peer: node/peer }", "identity: SECRET"),
    ("identity: { key: node/identity,", "identity: { key: SECRET,"),
    ("slot: 10ms", "slot: SECRET"),
    ("keys: [attester/0,", "keys: [SECRET,"),
    ("  keys:\n", "  limits: { deadline: SECRET }\n  keys:\n"),
    ("  keys:\n", "  limits: { queue: SECRET }\n  keys:\n"),
];

fn refused(secret: &str) {
    for (part, replacement) in PLACES {
        let folder = Folder::without_secrets();
        folder.settings(&good_with(&[(part, &replacement.replace("SECRET", secret))]));
        // Whatever is refused is searched for the secrets of the good settings.
        assert_eq!(folder.refused().code, 78, "{replacement}");
    }
}

#[test]
fn in_hexadecimal() {
    refused(KEYS[4].secret);
    refused(&KEYS[4].secret.to_uppercase());
}

#[test]
fn in_base64() {
    let secret = base16ct::lower::decode_vec(KEYS[5].secret).unwrap();
    refused(&format!("'{}'", Base64::encode_string(&secret)));
}

/// Hexadecimal is a valid key id, and a secret for all that.
#[test]
fn as_a_key_id() {
    let secret = KEYS[5].secret;
    let folder = Folder::without_secrets();
    let pasted = format!("id: {secret}, type: rsa");
    folder.settings(&good_with(&[("id: node/peer, type: ed25519", &pasted)]));
    let expected = [("(not shown)", "unknown key type"), ("node/peer", "is not declared")];
    folder.refused().expect(78, &expected);
}
