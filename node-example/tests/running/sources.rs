//! Where secrets may come from, and how they may be written.

use base64ct::{Base64, Encoding};
use serde_json::Value;

use crate::support::{Folder, KEYS, good_with, pem};

fn public_key(lines: &[Value], id: &str) -> String {
    let keys = lines[0]["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["id"] == id).unwrap();
    key["public_key"].as_str().unwrap().to_owned()
}

/// Every key loads from a file with this content and encoding, as the same key.
fn loads(encoding: &str, write: impl Fn(&str) -> Vec<u8>) {
    let folder = Folder::good();
    let source = |file: &str| format!("{{ file: {file}");
    for key in &KEYS {
        folder.secret(key.file, &write(key.secret));
    }
    let encoded = KEYS.map(|key| (source(key.file), format!("{}{encoding}", source(key.file))));
    let changes: Vec<_> =
        encoded.iter().map(|(part, with)| (part.as_str(), with.as_str())).collect();
    folder.settings(&good_with(&changes));
    let lines = folder.runs_with(&[]);
    for key in &KEYS {
        assert_eq!(public_key(&lines, key.id), key.public);
    }
}

fn bytes(secret: &str) -> Vec<u8> {
    base16ct::lower::decode_vec(secret).unwrap()
}

#[test]
fn hexadecimal() {
    loads("", |secret| secret.into());
    loads(", encoding: hex", |secret| secret.to_uppercase().into());
    loads(", encoding: hex", |secret| format!("0x{secret}\n").into());
}

#[test]
fn base64() {
    loads(", encoding: base64", |secret| Base64::encode_string(&bytes(secret)).into());
    loads(", encoding: base64", |secret| {
        format!("{}\n", Base64::encode_string(&bytes(secret))).into()
    });
}

#[test]
fn raw() {
    loads(", encoding: raw", bytes);
}

/// With and without an encoding: PEM is recognised.
#[test]
fn pem_files() {
    for encoding in ["", ", encoding: pem"] {
        let folder = Folder::good();
        let written =
            |file: &str| (format!("{{ file: {file} }}"), format!("{{ file: {file}{encoding} }}"));
        let changes = ["peer.key", "proposer.key"].map(written);
        folder.settings(&good_with(&[
            (&changes[0].0, &changes[0].1),
            (&changes[1].0, &changes[1].1),
        ]));
        folder.secret("peer.key", pem::ed25519(KEYS[5].secret).as_bytes());
        folder.secret("proposer.key", pem::secp256k1(KEYS[6].secret).as_bytes());
        let lines = folder.runs_with(&[]);
        assert_eq!(public_key(&lines, "node/peer"), KEYS[5].public);
        assert_eq!(public_key(&lines, "proposer/main"), KEYS[6].public);
    }
}

#[test]
fn environment_variables() {
    let folder = Folder::without_secrets();
    let names = ["A0", "A1", "A2", "A3", "IDENTITY", "PEER", "PROPOSER"];
    let sources: Vec<_> = KEYS
        .iter()
        .zip(names)
        .map(|(key, name)| (format!("{{ file: {} }}", key.file), format!("{{ env: {name} }}")))
        .collect();
    let changes: Vec<_> = sources.iter().map(|(file, env)| (file.as_str(), env.as_str())).collect();
    folder.settings(&good_with(&changes));
    let environment: Vec<_> = names.into_iter().zip(KEYS.map(|key| key.secret)).collect();
    let lines = folder.runs_with(&environment);
    for key in &KEYS {
        assert_eq!(public_key(&lines, key.id), key.public);
    }
}

#[test]
fn environment_variable_in_base64() {
    let folder = Folder::good();
    folder.settings_with("{ file: peer.key }", "{ env: PEER, encoding: base64 }");
    let secret = Base64::encode_string(&bytes(KEYS[5].secret));
    let lines = folder.runs_with(&[("PEER", &secret)]);
    assert_eq!(public_key(&lines, "node/peer"), KEYS[5].public);
}

/// Relative paths are taken from the settings file's folder, wherever the node is started.
#[test]
fn paths_are_relative_to_the_settings() {
    let folder = Folder::good();
    let mut command = folder.command();
    crate::support::succeeds(command.current_dir("/"));

    let mut command = crate::support::node(&folder.path("."));
    crate::support::succeeds(command.args(["--settings", "settings.yaml", "--slots", "1"]));
}
