//! Keys that come from elsewhere, one at a time.

use crate::support::{Folder, PASSPHRASE, SECRET};

/// The public keys of `SECRET`, by its type.
const ED25519: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// RFC 8410, section 10.3.
const RFC_8410: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const RFC_8410_PUBLIC: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

/// The same, by `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 10000` under `correct
/// horse`.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAijeNicK4E8ewICJxAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEOz1kMvuh7bCpnivqGrUsJQEQOnL
0NZ8LpOzdAiSJ0xQ0JCFvwufmdcXmPVfAdRTYAeokPFjhArB2AIDkcW+UVpsYr11
wEWPS/cq/OzrLfDw4+c=
-----END ENCRYPTED PRIVATE KEY-----
";

pub(crate) const KEYSTORES: [&str; 3] = [
    include_str!("data/keystore-0.json"),
    include_str!("data/keystore-1.json"),
    include_str!("data/keystore-2.json"),
];

/// The public key that a keystore names.
pub(crate) fn public_key_of(keystore: &str) -> String {
    let keystore: serde_json::Value = serde_json::from_str(keystore).unwrap();
    keystore["pubkey"].as_str().unwrap().to_owned()
}

#[test]
fn hexadecimal_keys_come_from_files_and_pipes() {
    let folder = Folder::new();
    folder.write("hex", format!("0x{SECRET}\n"));
    let run = folder.kms(&["import", "a", "hex", "--type", "ed25519"]);
    run.hides_secrets();
    run.ok();
    folder.pipe(&["import", "b", "--type", "secp256k1", "-"], SECRET).ok();
    assert_eq!(folder.public_key("a"), ED25519);
    folder.kms(&["import", "a", "hex", "--type", "ed25519"]).fails(69, "in the store already");
    folder.kms(&["import", "c", "hex"]).fails(64, "add --type");
    folder.kms(&["import", "c", "hex", "--format", "pem"]).fails(69, "malformed PEM");
    folder.pipe(&["import", "c", "--type", "ed25519", "-"], "").fails(69, "input is empty");
    folder.pipe(&["import", "c", "--type", "ed25519", "-"], "zz").fails(69, "not hexadecimal");
    let zero = "0".repeat(64);
    folder.pipe(&["import", "c", "--type", "bls12-381", "-"], &zero).fails(69, "is zero");
}

#[test]
fn pem_says_its_type() {
    let folder = Folder::new();
    folder.write("plain", RFC_8410);
    folder.kms(&["import", "a", "plain"]).ok();
    assert_eq!(folder.public_key("a"), RFC_8410_PUBLIC);
    let other = folder.kms(&["import", "b", "plain", "--type", "secp256k1"]);
    other.fails(69, "key b can't be read from plain: expected a key of secp256k1");
}

#[test]
fn encrypted_pem_needs_its_passphrase_and_type() {
    let folder = Folder::new();
    folder.write("encrypted", ENCRYPTED);
    folder.write("pass", "correct horse\n");
    let import = ["import", "a", "encrypted", "--from-passphrase-file", "pass"];
    folder.kms(&import).fails(64, "add --type");
    let typed = [&import[..], &["--type", "ed25519"]].concat();
    folder.kms(&typed[..3]).fails(64, "add --type");
    folder.kms(&["import", "a", "encrypted", "--type", "ed25519"]).fails(64, "no terminal");
    folder.write("pass", PASSPHRASE);
    folder.kms(&typed).fails(69, "wrong passphrase");
    folder.write("pass", "correct horse\n");
    folder.kms(&typed).ok();
    assert_eq!(folder.public_key("a"), RFC_8410_PUBLIC);
}

#[test]
fn a_keystore_comes_in_with_a_warning() {
    let folder = Folder::new();
    folder.write("keystore.json", KEYSTORES[0]);
    folder.write("pass", PASSPHRASE);
    let import = ["import", "a", "keystore.json", "--from-passphrase-file", "pass"];
    folder.kms(&[&import[..], &["--type", "ed25519"]].concat()).fails(64, "bls12-381");
    // As the staking tools write them.
    folder.chmod("keystore.json", 0o440);
    let run = folder.kms(&import);
    assert!(run.err.contains("slashing protection"), "{}", run.err);
    run.hides_secrets();
    run.ok();
    assert_eq!(folder.public_key("a"), public_key_of(KEYSTORES[0]));
    folder.write("pass", "another");
    let wrong = ["import", "b", "keystore.json", "--from-passphrase-file", "pass"];
    folder.kms(&wrong).fails(69, "wrong password, or the keystore is damaged");
}

#[test]
fn a_keystore_that_asks_for_the_moon_is_refused_at_once() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    folder.write("keystore", KEYSTORES[0].replace("\"c\": 2,", "\"c\": 4000000000,"));
    let import = ["import", "a", "keystore", "--from-passphrase-file", "pass"];
    folder.kms(&import).fails(69, "field crypto.kdf.params: expected");
    let huge = "\"n\": 1073741824, \"r\": 8, \"p\": 1, \"salt\"";
    let scrypt = KEYSTORES[0].replace("\"pbkdf2\"", "\"scrypt\"").replacen("\"salt\"", huge, 1);
    folder.write("keystore", scrypt);
    folder.kms(&import).fails(69, "field crypto.kdf.params: expected");
    folder.write("keystore", "{}");
    folder.kms(&import).fails(69, "is missing");
    folder.write("keystore", "{garbage");
    folder.kms(&import).fails(69, "not an EIP-2335 keystore");
}

#[test]
fn files_that_others_can_read_are_refused() {
    let folder = Folder::new();
    folder.write("hex", SECRET);
    let import = ["import", "a", "hex", "--type", "ed25519"];
    for mode in [0o644, 0o640, 0o660] {
        folder.chmod("hex", mode);
        folder.kms(&import).fails(69, "chmod 600");
    }
    folder.write("keystore", KEYSTORES[0]);
    folder.chmod("keystore", 0o644);
    folder.kms(&["import", "a", "keystore"]).fails(69, "open to others");
    std::fs::create_dir(folder.path("dir")).unwrap();
    folder.kms(&["import", "a", "dir", "--type", "ed25519"]).fails(69, "expected a regular file");
    folder.kms(&["import", "a", "absent", "--type", "ed25519"]).fails(69, "does not exist");
    assert!(folder.ids().is_empty());
}

#[test]
fn options_that_make_no_sense_together_are_refused() {
    let folder = Folder::new();
    folder.write("hex", SECRET);
    for args in [
        &["import"][..],
        &["import", "a"],
        &["import", "a", "hex", "--folder", "."],
        &["import", "--folder", ".", "--format", "hex"],
        &["import", "a", "hex", "--prefix", "b"],
        &["import", "a", "hex", "--passwords-dir", "."],
        &["import", "a", "hex", "--type", "ed25519", "--mnemonic-passphrase-file", "hex"],
        &["import", "a", "hex", "--from-passphrase-file", "hex", "--from-passphrase-env", "X"],
    ] {
        let run = folder.kms(args);
        assert_eq!(run.code, 64, "{args:?} {}", run.err);
    }
}
