//! Stores that somebody else opens.

use kms_peers::{Bao, Ministack, SoftHsm};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Folder, PASSPHRASE, Run, SECRET};

const OPEN: [&str; 2] = ["--unlock-settings", "unlock.yaml"];
const ADD: [&str; 5] = ["unlocker", "add", "cloud", "--new-unlock-settings", "unlock.yaml"];
const REMOVE: [&str; 4] = ["--yes", "unlocker", "remove", "first"];
const SUFFICES: [&str; 1] = ["--external-suffices"];

/// The command on the store that the settings open.
fn by_settings(folder: &Folder, args: &[&str]) -> Run {
    folder.bare(&[&OPEN[..], args].concat())
}

fn unlockers(folder: &Folder, opener: &[&str]) -> Value {
    folder.bare(&[opener, &["--json", "unlocker", "list"]].concat()).json()["unlockers"].take()
}

fn report(folder: &Folder, settings: &[&str], code: i32) -> Value {
    let run = by_settings(folder, &[&["--json", "doctor"], settings].concat());
    assert_eq!(run.code, code, "{} {}", run.out, run.err);
    serde_json::from_str::<Value>(run.out.lines().next().unwrap()).unwrap()["checks"].take()
}

fn levels<'a>(report: &'a Value, check: &str) -> Vec<&'a str> {
    let checks = report.as_array().unwrap().iter().filter(|found| found["check"] == check);
    checks.map(|found| found["level"].as_str().unwrap()).collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

#[test]
fn settings_may_say_what_this_machine_has() {
    let folder = Folder::new();
    folder.write("pass", PASSPHRASE);
    std::fs::create_dir(folder.path("etc")).unwrap();
    folder.write("etc/other", [8; 32]);
    // Paths are taken from the folder of the settings.
    folder.write("unlock.yaml", "key_file: key\n");
    folder.write("etc/unlock.yaml", "key_file: other\n");
    let settings = "--new-unlock-settings";
    by_settings(&folder, &["unlocker", "add", "spare", settings, "etc/unlock.yaml"]).ok();
    folder.bare(&["list", "--unlock-settings", "etc/unlock.yaml"]).ok();
    folder.write("etc/phrase.yaml", "passphrase: { env: SECRET_OF_STORE }\n");
    let add = ["--key-file", "key", "unlocker", "add", "people", settings, "etc/phrase.yaml"];
    let run = |args: &[&str]| {
        Run::of(&folder.command(args).env("SECRET_OF_STORE", PASSPHRASE).output().unwrap())
    };
    run(&add).ok();
    run(&["--unlock-settings", "etc/phrase.yaml", "verify"]).ok();
    folder.bare(&["--passphrase-file", "pass", "list"]).ok();
    by_settings(&folder, &["passphrase", "change", "--new-passphrase-file", "pass"])
        .fails(64, "a key file opened the store");
}

#[test]
fn settings_that_are_none_are_refused_without_their_secrets() {
    let folder = Folder::new();
    for (text, expected) in [
        ("floppy: {}\n", "unknown variant `floppy`"),
        ("vault: { adress: x }\n", "unknown field `adress`"),
        ("aws: { region: eu-north-1 }\n", "missing field `key`"),
        ("pkcs11: { module: m, token: { label: t }, key: k }\n", "missing field `pin`"),
        (
            &format!("pkcs11: {{ module: m, token: {{ label: t }}, key: k, pin: {SECRET} }}\n"),
            "line 1",
        ),
        (&format!("passphrase: {SECRET}\n"), "line 1"),
        ("", "line 1"),
        ("key_file: key\npassphrase: { file: x }\n", "unlock.yaml"),
    ] {
        folder.write("unlock.yaml", text);
        let run = by_settings(&folder, &["list"]).fails(69, expected);
        assert!(run.err.contains("settings file unlock.yaml"), "{}", run.err);
        folder.kms(&ADD).fails(69, expected);
    }
    folder.bare(&["--unlock-settings", "absent.yaml", "list"]).fails(69, "absent.yaml");
    folder.bare(&["--unlock-settings", SECRET, "list"]).fails(64, "secret");
    folder.write("unlock.yaml", "key_file: key\n");
    folder.kms(&[&ADD[..4], &[SECRET]].concat()).fails(64, "secret");
    folder.kms(&[&OPEN[..], &["list"]].concat()).fails(64, "exclude each other");
    for other in
        [["--new-key-file", "key"], ["--generate-key-file", "x"], ["--new-passphrase-env", "X"]]
    {
        folder.kms(&[&ADD[..], &other].concat()).fails(64, "cannot be used with");
    }
    assert_eq!(unlockers(&folder, &["--key-file", "key"]).as_array().unwrap().len(), 1);
}

#[test]
fn somebody_who_does_not_answer_opens_and_adds_nothing() {
    let folder = Folder::new();
    folder.write("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
    folder.write("token", "s.token");
    folder.write("pin", "2468");
    for (section, provider) in [
        (
            "aws: { region: us-east-1, endpoint_override: 'http://127.0.0.1:1', key: alias/x, \
             credentials: { profile: { file: credentials, name: default } }, \
             remote: { retry: { limit: 1 } } }\n",
            "aws",
        ),
        (
            "vault: { address: 'http://127.0.0.1:1', allow_http: true, key: node, \
             auth: { token: { file: token } }, remote: { retry: { limit: 1 } } }\n",
            "127.0.0.1:1",
        ),
        (
            "pkcs11: { module: nowhere.so, token: { label: x }, key: node, pin: { file: pin } }\n",
            "nowhere.so",
        ),
    ] {
        folder.write("unlock.yaml", section);
        folder.kms(&ADD).fails(69, provider);
        // The store has no such unlocker, so that nobody is asked – but Vault, for a login.
        by_settings(&folder, &["list"]).fails(69, "");
        by_settings(&folder, &["--store", "new", "init"]).fails(69, provider);
        assert!(!folder.path("new").exists());
    }
    assert_eq!(unlockers(&folder, &["--key-file", "key"]).as_array().unwrap().len(), 1);
    folder.kms(&[&REMOVE[..], &SUFFICES].concat()).fails(69, "add another one first");
    folder.kms(&["list"]).ok();
}

/// Vault's key comes and stays alone.
#[test]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
fn a_store_is_handed_over_to_vault_and_back() {
    let (folder, runtime) = (Folder::new(), runtime());
    let server = runtime.block_on(Bao::dev());
    server.must(&["secrets", "enable", "transit"]);
    server.must(&["write", "-f", "transit/keys/node"]);
    server.policy("node", r#"path "transit/+/node" { capabilities = ["update"] }"#);
    folder.write("token", server.token(&["node"], "1h"));
    folder.kms(&["generate", "a", "--type", "bls12-381"]).ok();
    let public_key = folder.public_key("a");
    let section = format!(
        "vault: {{ address: \"{}\", allow_http: true, key: node, auth: {{ token: {{ file: token }} }} }}\n",
        server.url()
    );
    folder.write("unlock.yaml", &section);

    by_settings(&folder, &["list"]).fails(69, "no unlocker of this kind");
    folder.kms(&ADD).ok();
    folder.kms(&ADD).fails(69, "called \"cloud\" already");
    let list = unlockers(&folder, &OPEN);
    assert_eq!(list[1]["kind"], "external");
    assert_eq!(list[1]["provider"], "vault");
    assert_eq!(list[1]["parameters"], json!({ "key": "node", "mount": "transit" }));
    let text = by_settings(&folder, &["unlocker", "list"]).ok();
    assert!(text.contains("external: vault (key node, mount transit)"), "{text}");
    assert!(text.contains("key file"), "{text}");
    assert_eq!(by_settings(&folder, &["public-key", "a"]).ok().trim(), public_key);
    by_settings(&folder, &["verify"]).ok();
    by_settings(&folder, &["generate", "b", "--type", "ed25519"]).ok();
    folder.write("pass", PASSPHRASE);
    by_settings(&folder, &["passphrase", "change", "--new-passphrase-file", "pass"])
        .fails(64, "a key of vault opened the store");

    // The last that needs nobody else stays, unless that is said, by one who needs it no more.
    by_settings(&folder, &REMOVE).fails(69, "--external-suffices");
    folder.kms(&[&REMOVE[..], &SUFFICES].concat()).fails(64, "--unlock-settings");
    by_settings(&folder, &["--yes", "rekey"]).fails(64, "--external-suffices");
    folder.kms(&["list"]).ok();
    assert_eq!(levels(&report(&folder, &[], 0), "unlocker"), ["ok", "ok"]);
    by_settings(&folder, &[&REMOVE[..], &SUFFICES].concat()).ok();
    folder.kms(&["list"]).fails(69, "no unlocker of this kind");
    let doctor = report(&folder, &[], 0);
    assert_eq!(
        (levels(&doctor, "unlocker"), levels(&doctor, "unlockers")),
        (vec!["ok"], vec!["warning"])
    );
    by_settings(&folder, &["--yes", "unlocker", "remove", "cloud"]).fails(69, "is the last");
    by_settings(&folder, &["--yes", "rekey"]).ok();
    assert_eq!(by_settings(&folder, &["public-key", "a"]).ok().trim(), public_key);

    // As a node opens it.
    let node = format!(
        "kms:\n  backends:\n    store:\n      type: keystore\n      path: kms.keystore\n      unlock:\n        {section}\
         \x20 keys:\n    - {{ id: a, type: bls12-381 }}\n"
    );
    folder.write("node.yaml", node);
    let doctor = report(&folder, &["--settings", "node.yaml"], 0);
    for check in ["store: open", "store: keys"] {
        assert_eq!(levels(&doctor, check), ["ok"], "{doctor}");
    }

    server.policy("node", r#"path "transit/+/other" { capabilities = ["update"] }"#);
    let refused = by_settings(&folder, &["list"]).fails(69, "permission denied");
    for part in ["\"cloud\"", "vault", "key node of mount transit"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    assert_eq!(
        levels(&report(&folder, &["--settings", "node.yaml"], 69), "store: open"),
        ["problem"]
    );

    server.policy("node", r#"path "transit/+/node" { capabilities = ["update"] }"#);
    by_settings(&folder, &["unlocker", "add", "people", "--new-passphrase-file", "pass"]).ok();
    let people = ["--passphrase-file", "pass"];
    folder.bare(&[&people[..], &["--yes", "unlocker", "remove", "cloud"]].concat()).ok();
    by_settings(&folder, &["list"]).fails(69, "no unlocker of this kind");
    assert_eq!(folder.bare(&[&people[..], &["public-key", "a"]].concat()).ok().trim(), public_key);
}

#[test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
fn a_key_of_aws_is_added_and_taken_away() {
    let (folder, runtime) = (Folder::new(), runtime());
    let server = runtime.block_on(Ministack::start());
    let key = server.must("CreateKey", &json!({}))["KeyMetadata"]["KeyId"].take();
    server.must("CreateAlias", &json!({ "AliasName": "alias/node", "TargetKeyId": key }));
    folder.write("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
    let section = format!(
        "aws: {{ region: us-east-1, endpoint_override: \"{}\", key: alias/node, \
         credentials: {{ profile: {{ file: credentials, name: default }} }} }}\n",
        server.url()
    );
    folder.write("unlock.yaml", section);
    folder.kms(&ADD).ok();
    let text = by_settings(&folder, &["unlocker", "list"]).ok();
    assert!(text.contains("external: aws (key alias/node)"), "{text}");
    assert_eq!(levels(&report(&folder, &[], 0), "unlocker"), ["ok", "ok"]);

    server.must("DisableKey", &json!({ "KeyId": key }));
    let refused = by_settings(&folder, &["list"]).fails(69, "DisabledException");
    assert!(
        refused.err.contains("\"cloud\"") && refused.err.contains("kms:Decrypt"),
        "{}",
        refused.err
    );
    // Whoever opens it otherwise still can.
    folder.kms(&["list"]).ok();
    server.must("EnableKey", &json!({ "KeyId": key }));
    by_settings(&folder, &["list"]).ok();

    // Credentials from the environment.
    let section = format!(
        "aws: {{ region: us-east-1, endpoint_override: \"{}\", key: alias/node, \
         credentials: environment }}\n",
        server.url()
    );
    folder.write("unlock.yaml", section);
    by_settings(&folder, &["list"]).fails(69, "AWS_ACCESS_KEY_ID");
    let mut command = folder.command([OPEN[0], OPEN[1], "list"]);
    command.env("AWS_ACCESS_KEY_ID", "A").env("AWS_SECRET_ACCESS_KEY", "S");
    Run::of(&command.output().unwrap()).ok();
}

/// What the README says of it.
fn handing_over() -> String {
    let (_, after) =
        include_str!("../../../README.md").split_once("handed to somebody else").unwrap();
    let (_, block) = after.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
fn a_store_is_handed_over_as_the_readme_has_it() {
    let (folder, runtime) = (Folder::empty(), runtime());
    let server = runtime.block_on(Ministack::start());
    let key = server.must("CreateKey", &json!({}))["KeyMetadata"]["KeyId"].take();
    server.must("CreateAlias", &json!({ "AliasName": "alias/node-store", "TargetKeyId": key }));
    folder.write("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
    let section = format!(
        "aws: {{ region: us-east-1, key: alias/node-store, endpoint_override: \"{}\", \
         credentials: {{ profile: {{ file: credentials, name: default }} }} }}\n",
        server.url()
    );
    folder.write("unlock.yaml", section);
    folder.bare(&["init", "--generate-passphrase", "passphrase"]).ok();
    let lines = handing_over();
    assert_eq!(lines.lines().filter(|line| line.starts_with("kms ")).count(), 3, "{lines}");
    let programs = std::path::Path::new(crate::support::KMS).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(programs.to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut bash = std::process::Command::new("setsid");
    bash.args(["bash", "-e", "-c", &lines]).current_dir(folder.path(""));
    bash.env("PATH", path.unwrap())
        .env("KMS_PASSPHRASE_FILE", "passphrase")
        .env_remove("KMS_STORE");
    Run::of(&bash.output().unwrap()).ok();
    folder.bare(&["--passphrase-file", "passphrase", "list"]).fails(69, "no unlocker of this kind");
    by_settings(&folder, &["list"]).ok();
}

#[test]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
fn a_key_in_a_token_is_made_and_opens_a_store_from_its_beginning() {
    let (folder, token) = (Folder::empty(), SoftHsm::start());
    folder.write("pin", SoftHsm::PIN);
    let section = |if_missing: &str| {
        format!(
            "pkcs11: {{ module: {}, token: {{ label: {} }}, key: store, pin: {{ file: pin }}, \
             if_missing: {if_missing} }}\n",
            SoftHsm::module().display(),
            token.label()
        )
    };
    folder.write("unlock.yaml", section("fail"));
    by_settings(&folder, &["init"]).fails(69, "there is no such key");
    assert!(!folder.path("kms.keystore").exists());
    folder.write("unlock.yaml", section("generate"));
    let made = by_settings(&folder, &["init"]);
    assert!(made.err.contains("only a key of pkcs11 opens this store"), "{}", made.err);
    made.ok();
    folder.write("unlock.yaml", section("fail"));
    by_settings(&folder, &["generate", "a", "--type", "bls12-381"]).ok();
    let text = by_settings(&folder, &["unlocker", "list"]).ok();
    assert!(text.contains("external: pkcs11 (key store)"), "{text}");
    let doctor = report(&folder, &[], 0);
    assert_eq!(
        (levels(&doctor, "unlocker"), levels(&doctor, "unlockers")),
        (vec!["ok"], vec!["warning"])
    );
    folder.write("pin", "8642");
    let refused = by_settings(&folder, &["list"]).fails(69, token.label());
    assert!(!refused.err.contains("8642"), "{}", refused.err);
}
