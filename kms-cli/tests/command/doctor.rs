//! What the doctor finds.

use serde_json::Value;

use crate::support::{Folder, PASSPHRASE};

/// The level that a check comes to.
pub(crate) fn level<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap().iter();
    let found = checks.filter(|found| found["check"] == check).map(|found| &found["level"]);
    found.map(|level| level.as_str().unwrap()).next_back().unwrap_or("none")
}

fn report(folder: &Folder, code: i32) -> Value {
    let run = folder.kms(&["--json", "doctor"]);
    assert_eq!(run.code, code, "{} {}", run.out, run.err);
    run.hides_secrets();
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn a_good_store_has_no_problems() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    folder.kms(&["unlocker", "add", "x", "--new-passphrase-file", "pass"]).ok();
    let report = report(&folder, 0);
    assert_eq!(report["problems"], 0);
    for check in ["file", "owner", "mode", "folder", "lock", "opening", "unlocker", "secrets"] {
        assert_eq!(level(&report, check), "ok", "{check}");
    }
    let text = folder.kms(&["doctor"]).ok();
    assert!(text.contains("unlocker: x: passphrase (Argon2id, 64 MiB, 3 passes)"), "{text}");
    assert!(text.contains("1 version of 1 key proved"), "{text}");
}

#[test]
fn a_store_that_is_not_there_is_a_problem() {
    let folder = Folder::empty();
    assert_eq!(level(&report(&folder, 69), "file"), "problem");
    folder.kms(&["doctor"]).fails(69, "1 problem found");
}

#[test]
fn modes_that_let_others_in_are_problems() {
    let folder = Folder::new();
    folder.chmod("kms.keystore", 0o644);
    folder.chmod("", 0o777);
    let report = report(&folder, 69);
    for check in ["mode", "folder", "opening"] {
        assert_eq!(level(&report, check), "problem", "{check}");
    }
}

#[test]
fn what_does_not_open_is_a_problem() {
    let folder = Folder::new();
    folder.write("other", [8; 32]);
    folder.bare(&["--key-file", "other", "doctor"]).fails(69, "1 problem found");
    folder.bare(&["doctor"]).fails(69, "1 problem found");
    folder.write("kms.keystore", "garbage");
    assert_eq!(level(&report(&folder, 69), "opening"), "problem");
}

#[test]
fn leftovers_and_deletions_are_warnings() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    folder.yes(&["unprotect", "a"]).ok();
    folder.yes(&["delete", "a"]).ok();
    folder.write("kms.keystore.unfinished-1", "");
    let report = report(&folder, 0);
    assert_eq!(level(&report, "unfinished files"), "warning");
    assert_eq!(level(&report, "deletions"), "warning");
}

pub(crate) fn settings_report(folder: &Folder, options: &[&str], code: i32) -> (Value, String) {
    let run = folder.kms(&[&["--json", "doctor", "--settings", "node.yaml"], options].concat());
    assert_eq!(run.code, code, "{} {}", run.out, run.err);
    run.hides_secrets();
    let report = serde_json::from_str(run.out.lines().next().unwrap_or("null")).unwrap();
    (report, run.err)
}

#[test]
fn the_backends_of_settings_are_asked_and_a_store_gets_no_new_key() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    folder.write("secret", "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3");
    let settings = "\
kms:
  backends:
    store: { type: keystore, path: kms.keystore, unlock: { key_file: key } }
    files: { type: preload }
  keys:
    - { id: a, type: ed25519, backend: store }
    - { id: b, type: ed25519, backend: store, if_missing: generate }
    - { id: c, type: ed25519, backend: files, source: { file: secret } }
other: section
";
    folder.write("node.yaml", settings);
    let (report, _) = settings_report(&folder, &[], 0);
    let good = ["store: open", "store: health", "store: list", "files: open", "files: keys"];
    for check in good {
        assert_eq!(level(&report, check), "ok", "{check}: {report}");
    }
    let keys = report["checks"].as_array().unwrap().iter();
    let keys: Vec<_> = keys.filter(|found| found["check"] == "store: keys").collect();
    assert_eq!((&keys[0]["level"], &keys[1]["level"]), (&"ok".into(), &"warning".into()));
    assert_eq!(level(&report, "store: create"), "none");

    // The node would be refused.
    folder.write("node.yaml", settings.replace(", if_missing: generate", ""));
    let (report, _) = settings_report(&folder, &[], 69);
    let problems = report["checks"].as_array().unwrap().iter();
    let problems: Vec<_> = problems.filter(|found| found["level"] == "problem").collect();
    assert_eq!(problems.len(), 1, "{report}");
    assert_eq!(problems[0]["found"], "b is not there", "{report}");
    let by_backend = settings.replace(", if_missing: generate", "");
    let by_backend = by_backend.replace("key_file: key }", "key_file: key }, if_missing: generate");
    folder.write("node.yaml", by_backend);
    settings_report(&folder, &[], 0);
}

#[test]
fn what_is_wrong_with_settings_is_told_without_their_secrets() {
    let folder = Folder::new();
    let secret = "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3";
    for (backends, expected) in [
        ("{ a: { type: floppy } }", "unknown variant `floppy`"),
        ("{ a: { type: keystore, path: x } }", "missing field `unlock`"),
        (&*format!("{{ a: {{ type: keystore, path: x, unlock: {secret} }} }}"), "line 1"),
        (&*format!("{{ a: {{ type: preload, {secret}: 1 }} }}"), "line 1"),
        ("{ a: { type: keystore, path: nowhere, unlock: { key_file: nowhere } } }", "nowhere"),
    ] {
        folder.write("node.yaml", format!("kms: {{ backends: {backends} }}"));
        let run = folder.kms(&["doctor", "--settings", "node.yaml"]);
        assert_eq!(run.code, 69, "{} {}", run.out, run.err);
        let said = format!("{}{}", run.out, run.err);
        assert!(said.contains(expected), "{backends}: {said}");
        assert!(!said.contains(secret), "{said}");
    }
    folder.kms(&["doctor", "--no-create"]).fails(64, "--settings");
}

#[test]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
fn a_throw_away_key_is_made_in_a_token_used_and_destroyed() {
    let (folder, token) = (Folder::new(), kms_peers::SoftHsm::start());
    folder.write("pin", kms_peers::SoftHsm::PIN);
    folder.write(
        "node.yaml",
        format!(
            "kms:\n  backends:\n    hsm: {{ type: pkcs11, module: {}, token: {{ label: {} }}, pin: {{ file: pin }} }}\n",
            kms_peers::SoftHsm::module().display(),
            token.label()
        ),
    );
    let (report, _) = settings_report(&folder, &[], 0);
    let steps = ["open", "health", "list", "create", "sign", "rotate", "remove"];
    for check in steps.map(|step| format!("hsm: {step}")) {
        let check = check.as_str();
        assert_eq!(level(&report, check), "ok", "{check}: {report}");
    }
    let (report, _) = settings_report(&folder, &["--no-create"], 0);
    assert_eq!(level(&report, "hsm: create"), "none");
    folder.write("pin", "9999");
    let (report, _) = settings_report(&folder, &[], 69);
    assert_eq!(level(&report, "hsm: open"), "problem");
}

#[test]
fn a_key_whose_secret_can_t_be_read_is_a_problem() {
    let folder = Folder::new();
    let settings = "\
kms:
  backends: { files: { type: preload } }
  keys: [{ id: a, type: ed25519, source: { file: nowhere } }]
";
    folder.write("node.yaml", settings);
    let (report, _) = settings_report(&folder, &[], 69);
    assert_eq!(level(&report, "files: keys"), "problem");
    assert!(report.to_string().contains("nowhere"), "{report}");
}

#[test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
fn throw_away_keys_are_made_in_aws_and_their_deletion_is_scheduled() {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let aws = runtime.block_on(kms_peers::Ministack::start());
    let profile = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    folder.write("credentials", profile);
    folder.write(
        "node.yaml",
        format!(
            "kms:\n  backends:\n    cloud: {{ type: aws, region: us-east-1, endpoint_override: \"{}\", \
             credentials: {{ profile: {{ file: credentials, name: default }} }} }}\n",
            aws.url()
        ),
    );
    let (report, _) = settings_report(&folder, &["--no-create"], 0);
    assert_eq!(level(&report, "cloud: list"), "ok", "{report}");
    assert_eq!(aws.keys().len(), 0);
    let (report, _) = settings_report(&folder, &[], 0);
    for check in [
        "cloud: open",
        "cloud: health",
        "cloud: create",
        "cloud: sign",
        "cloud: list",
        "cloud: rotate",
        "cloud: disable",
        "cloud: enable",
        "cloud: remove",
    ] {
        assert_eq!(level(&report, check), "ok", "{check}: {report}");
    }
    let keys = aws.keys();
    assert_eq!(keys.len(), 4, "one of each type, rotated once");
    assert!(keys.iter().all(|key| key["KeyState"] == "PendingDeletion"), "{keys:?}");
}

/// The settings of a backend at this server, with a token in `token`.
pub(crate) fn vault(server: &kms_peers::Bao, allow_deletion: bool) -> String {
    format!(
        "kms:\n  backends:\n    vault: {{ type: vault, address: \"{}\", allow_http: true, \
         auth: {{ token: {{ file: token }} }}, allow_deletion: {allow_deletion} }}\n",
        server.url()
    )
}

#[test]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
fn a_throw_away_key_is_made_at_a_server_only_where_it_can_be_removed() {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(kms_peers::Bao::dev());
    server.must(&["secrets", "enable", "transit"]);
    folder.write("token", server.root_token());
    folder.write("node.yaml", vault(&server, false));
    let (report, _) = settings_report(&folder, &[], 0);
    assert_eq!(level(&report, "vault: create"), "warning", "{report}");
    folder.write("node.yaml", vault(&server, true));
    let (report, _) = settings_report(&folder, &[], 0);
    for check in ["vault: create", "vault: sign", "vault: remove"] {
        assert_eq!(level(&report, check), "ok", "{check}: {report}");
    }
    let (report, _) = settings_report(&folder, &["--no-create"], 0);
    assert_eq!(level(&report, "vault: list"), "ok", "{report}");
}
