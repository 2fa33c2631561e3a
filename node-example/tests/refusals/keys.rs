//! Secrets that can be read and aren't the key that is needed.

use crate::support::{Folder, KEYS, Key, pem};

fn key(id: &str) -> &'static Key {
    KEYS.iter().find(|key| key.id == id).unwrap()
}

/// The good settings with another secret for one key.
#[track_caller]
fn refused(id: &str, secret: &str, cause: &str) {
    let folder = Folder::good();
    folder.secret(key(id).file, secret.as_bytes());
    folder.refused().expect(69, &[(id, cause)]);
}

#[test]
fn wrong_length() {
    for id in ["node/peer", "proposer/main", "attester/0"] {
        let secret = key(id).secret;
        refused(id, &secret[2..], "expected 32 bytes, got 31");
        refused(id, &format!("{secret}00"), "expected 32 bytes, got 33");
    }
}

#[test]
fn zero() {
    for id in ["proposer/main", "attester/0"] {
        refused(id, &"00".repeat(32), "the secret key is zero");
    }
}

/// The order of each curve's group, and the largest number there is.
#[test]
fn out_of_range() {
    let secp256k1 = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let bls12_381 = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";
    for (id, order) in [("proposer/main", secp256k1), ("attester/0", bls12_381)] {
        refused(id, order, "the secret key is not below the group order");
        refused(id, &"ff".repeat(32), "the secret key is not below the group order");
    }
}

#[test]
fn pem_of_another_type() {
    let ed25519 = pem::ed25519(key("node/peer").secret);
    refused("proposer/main", &ed25519, "expected a key of");
    let secp256k1 = pem::secp256k1(key("proposer/main").secret);
    refused("node/peer", &secp256k1, "expected a key of");
}

#[test]
fn public_key_in_pem() {
    let public = pem::ed25519_public(key("node/peer").public);
    refused("node/peer", &public, "a public key where the private one is due");
}

#[test]
fn encrypted_pem() {
    refused("node/peer", pem::ENCRYPTED, "an encrypted key; this backend reads plain ones");
}

#[test]
fn pem_of_sec_1() {
    let sec1 = pem::sec1(key("proposer/main").secret);
    refused("proposer/main", &sec1, "openssl pkcs8 -topk8");
}

#[test]
fn pem_with_something_after_it() {
    let two = pem::ed25519(key("node/peer").secret).repeat(2);
    refused("node/peer", &two, "not PEM");
}

#[test]
fn bls_in_pem() {
    let pem = pem::ed25519(key("attester/0").secret);
    refused("attester/0", &pem, "no PKCS#8 or SPKI form is defined for bls12-381 keys");
}

/// A pin is the public key that a key must turn out to have.
#[test]
fn pinned_public_key_differs() {
    for (id, other) in [
        ("node/peer", key("node/identity").public),
        ("attester/0", key("attester/1").public),
        ("proposer/main", "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
    ] {
        let file = format!("file: {} }}", key(id).file);
        let pinned = |public: &str| format!("{file}, public_key: {public}");
        let folder = Folder::good();
        folder.settings_with(&file, &pinned(other));
        let refused = folder.refused();
        refused.expect(69, &[(id, "not the one that the settings pin")]);
        assert!(refused.text.contains(key(id).public), "what was found: {}", refused.text);
        assert!(!refused.text.contains(other), "not what was pasted: {}", refused.text);

        folder.settings_with(&file, &pinned(key(id).public));
        folder.runs_with(&[]);
    }
}

#[test]
fn pinned_public_key_that_is_none() {
    for (pin, cause) in [
        ("3d40", "expected 32 bytes, got 2"),
        ("xyz", "not hexadecimal"),
        (key("proposer/main").public, "expected 32 bytes, got 33"),
    ] {
        let folder = Folder::without_secrets();
        folder
            .settings_with("file: peer.key }", &format!("file: peer.key }}, public_key: '{pin}'"));
        folder.refused().expect(78, &[("node/peer", cause)]);
    }
}
