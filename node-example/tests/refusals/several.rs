//! Several failures at once: all are named.

use crate::support::{Folder, good_with, pem};

#[test]
fn seven_keys_in_seven_ways() {
    let folder = Folder::good();
    folder.settings(&good_with(&[
        ("{ file: identity.key }", "{ env: IDENTITY_KEY }"),
        ("{ file: attester-3.key }", "{ file: attester-3.key }, public_key: a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a"),
    ]));
    folder.secret("peer.key", pem::ENCRYPTED.as_bytes());
    folder.mode("proposer.key", 0o644);
    folder.remove("attester-0.key");
    folder.secret("attester-1.key", b"");
    folder.secret("attester-2.key", "00".repeat(32).as_bytes());
    let refused = folder.refused();
    refused.expect(
        69,
        &[
            ("node/identity", "environment variable IDENTITY_KEY is not set"),
            ("node/peer", "an encrypted key"),
            ("proposer/main", "open to others"),
            ("attester/0", "does not exist"),
            ("attester/1", "is empty"),
            ("attester/2", "the secret key is zero"),
            ("attester/3", "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07"),
        ],
    );
    assert!(refused.text.starts_with("the node does not start\n"), "{}", refused.text);
}

#[test]
fn all_files_missing() {
    let refused = Folder::without_secrets().refused();
    assert_eq!((refused.code, refused.failures.len()), (69, 7));
    assert!(refused.causes().iter().all(|(_, cause)| cause.contains("does not exist")));
}

#[test]
fn many_mistakes_in_the_settings() {
    let folder = Folder::good();
    folder.settings(&good_with(&[
        (
            "id: node/peer, type: ed25519",
            "id: node//peer, type: ed25519, schemes: [bls-pop], backend: other",
        ),
        ("id: attester/0", "id: attester/1"),
        ("type: secp256k1", "type: p256"),
        ("slot: 10ms", "slot: 0s"),
    ]));
    let refused = folder.refused();
    for field in [
        "kms.keys[1].id",
        "kms.keys[1].backend",
        "kms.keys[1].schemes",
        "kms.keys[2].type",
        "kms.keys[4].id",
        "identity.peer",
        "proposer.key",
        "proposer.slot",
        "attesters.keys[0]",
    ] {
        let named = refused.failures.iter().any(|failure| failure["field"] == field);
        assert!(named, "{field} is not in: {}", refused.text);
    }
    assert_eq!(refused.code, 78);
    assert!(refused.text.starts_with("the settings are wrong\n"), "{}", refused.text);
}

/// What the settings alone settle is found before anything is touched.
#[test]
fn wrong_settings_go_before_missing_secrets() {
    let folder = Folder::without_secrets();
    folder.settings_with("slot: 10ms", "slot: 0s");
    folder.refused().expect(78, &[("proposer.slot", "is zero")]);
}
