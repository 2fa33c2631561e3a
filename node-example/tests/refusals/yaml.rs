//! Settings that can't be read: the report names the file, the line and the field.

use std::fs;

use crate::support::{Folder, GOOD, good_with};

/// Settings of this text, and what the report on them says.
#[track_caller]
fn refused(text: &[u8], parts: &[&str]) {
    let folder = Folder::without_secrets();
    fs::write(folder.path("settings.yaml"), text).unwrap();
    let refused = folder.refused();
    assert_eq!((refused.code, refused.failures.len()), (78, 1), "{}", refused.text);
    assert!(refused.text.contains("settings.yaml"), "{}", refused.text);
    for part in parts {
        assert!(refused.text.contains(part), "{part} is not in: {}", refused.text);
    }
}

#[track_caller]
fn changed(part: &str, replacement: &str, parts: &[&str]) {
    refused(good_with(&[(part, replacement)]).as_bytes(), parts);
}

#[test]
fn wrong_type_of_value() {
    changed("slot: 10ms", "slot: [10]", &["line 13", "(proposer.slot)"]);
    changed(
        "slot: 10ms",
        "slot: 10",
        &["line 13", "(proposer.slot)", "expected a duration with its unit"],
    );
    changed(
        "attesters: { keys: [attester/0, attester/1, attester/2, attester/3] }",
        "attesters: none",
        &["line 14", "(attesters)"],
    );
    changed("id: node/peer", "id: [node/peer]", &["line 6", "(kms.keys[1].id)"]);
    changed("local: { type: preload }", "local: preload", &["line 3", "(kms.backends.local)"]);
    changed(
        "{ file: peer.key }",
        "{ file: peer.key, group_readable: sometimes }",
        &["line 6", "(kms.keys[1].source.group_readable)"],
    );
    changed("  keys:\n", "  limits: { queue: many }\n  keys:\n", &["line 4", "(kms.limits.queue)"]);
    changed("  keys:\n", "  limits: { queue: -1 }\n  keys:\n", &["line 4", "(kms.limits.queue)"]);
    changed(
        "  keys:\n",
        "  limits: { deadline: 5 }\n  keys:\n",
        &["line 4", "(kms.limits.deadline)", "expected a duration with its unit"],
    );
    changed(
        "  keys:\n",
        "  limits: { message_bytes: big }\n  keys:\n",
        &["line 4", "(kms.limits.message_bytes)", "expected a size"],
    );
}

#[test]
fn unknown_field() {
    changed(
        "type: ed25519, source: { file: peer.key }",
        "type: ed25519, colour: red, source: { file: peer.key }",
        &["line 6", "(kms.keys[1].colour)", "unknown field `colour`"],
    );
    changed(
        "{ file: peer.key }",
        "{ path: peer.key }",
        &["line 6", "unknown field `path`", "file, env"],
    );
    changed(
        "{ type: preload }",
        "{ type: preload, path: /x }",
        &["line 3", "unknown field `path`"],
    );
    changed("slot: 10ms", "slots: 10ms", &["line 13", "unknown field `slots`"]);
    changed("identity:", "identities:", &["line 12", "unknown field `identities`"]);
    changed("  keys:\n", "  limit: { queue: 1 }\n  keys:\n", &["line 4", "unknown field `limit`"]);
}

#[test]
fn missing_field() {
    changed("id: node/peer, ", "", &["line 6", "(kms.keys[1])", "missing field `id`"]);
    changed(", peer: node/peer", "", &["line 12", "(identity)", "missing field `peer`"]);
    changed("proposer: { key: proposer/main, slot: 10ms }\n", "", &["missing field `proposer`"]);
    changed(
        "  backends:\n    local: { type: preload }\n",
        "",
        &["(kms)", "missing field `backends`"],
    );
}

#[test]
fn unknown_backend_type() {
    changed("type: preload", "type: floppy", &["line 3", "unknown variant `floppy`", "preload"]);
    changed("{ type: preload }", "{}", &["line 3", "missing field `type`"]);
}

#[test]
fn duplicate_field() {
    let twice = format!("{GOOD}proposer: {{ key: proposer/main }}\n");
    refused(twice.as_bytes(), &["line 15", "duplicate field `proposer`"]);
    changed("slot: 10ms", "slot: 10ms, slot: 10ms", &["line 13", "duplicate field `slot`"]);
    changed("id: node/peer", "id: node/peer, id: node/peer", &["line 6", "duplicate field `id`"]);
    changed(
        "local: { type: preload }",
        "local: { type: preload }\n    local: { type: preload }",
        &["line 4", "duplicate field `local`"],
    );
}

#[test]
fn source_that_is_none() {
    changed(
        "{ file: peer.key }",
        "peer.key",
        &["line 6", "(kms.keys[1].source)", "expected the place of a secret"],
    );
    changed("{ file: peer.key }", "{}", &["line 6", "neither `file` nor `env`"]);
    changed(
        "{ file: peer.key }",
        "{ file: peer.key, env: PEER }",
        &["line 6", "both `file` and `env`"],
    );
    changed(
        "{ file: peer.key }",
        "{ env: PEER, group_readable: true }",
        &["line 6", "`group_readable` goes with `file`"],
    );
    changed("{ file: peer.key }", "{ env: '' }", &["line 6", "no name of an environment variable"]);
    changed(
        "{ file: peer.key }",
        "{ file: peer.key, encoding: rot13 }",
        &["line 6", "unknown variant `rot13`", "hex, base64, pem, raw"],
    );
}

#[test]
fn nothing_in_it() {
    for text in ["", "\n\n", "# nothing but a comment\n", "---\n"] {
        refused(text.as_bytes(), &["section `kms` is missing"]);
    }
}

#[test]
fn no_yaml() {
    refused(b"kms: [\n", &["line"]);
    refused(b"kms:\n\tbackends: {}\n", &["line 2"]);
    refused(b"once upon a time\n", &["line 1"]);
    refused(b"[]\n", &["line 1"]);
}

#[test]
fn two_documents() {
    refused(format!("{GOOD}---\n{GOOD}").as_bytes(), &["line 16", "a second YAML document begins"]);
}

#[test]
fn not_utf_8() {
    let text = [GOOD.as_bytes(), b"# caf\xe9\n"].concat();
    refused(&text, &["line 15 is not UTF-8"]);
}

#[test]
fn larger_than_any_settings() {
    let text = format!("{GOOD}# {}\n", "x".repeat(1024 * 1024));
    refused(text.as_bytes(), &["is larger than 1048576 bytes"]);
}

#[test]
fn no_settings_file() {
    let folder = Folder::good();
    folder.remove("settings.yaml");
    let refused = folder.refused();
    refused.expect(78, &[("", "No such file")]);
    assert!(refused.text.contains("settings.yaml"), "{}", refused.text);
}

/// A pipe or a device may have no end.
#[test]
fn settings_without_end() {
    let folder = Folder::good();
    folder.remove("settings.yaml");
    std::os::unix::fs::symlink("/dev/zero", folder.path("settings.yaml")).unwrap();
    folder.refused().expect(78, &[("", "is larger than 1048576 bytes")]);
}

#[test]
fn a_folder_for_settings() {
    let folder = Folder::good();
    folder.remove("settings.yaml");
    fs::create_dir(folder.path("settings.yaml")).unwrap();
    folder.refused().expect(78, &[("", "Is a directory")]);
}
