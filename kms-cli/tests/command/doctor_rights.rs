//! Whether the doctor names the right that is missing as whoever refuses calls it.

use kms_peers::{Answer, Bao, Fault, Ministack, Proxy, SoftHsm};
use serde_json::Value;

use crate::doctor::{level, settings_report, vault};
use crate::support::{Folder, Run};

/// The advice on the check that ended so.
#[track_caller]
fn advice<'a>(report: &'a Value, check: &str, level: &str) -> &'a str {
    let mut checks = report["checks"].as_array().unwrap().iter();
    let is_it = |found: &&Value| found["check"] == check && found["level"] == level;
    checks.find(is_it).unwrap_or_else(|| panic!("{report}"))["advice"].as_str().unwrap()
}

/// How the command ends, and at what level a check, if the right for it alone is missing.
fn how(check: &str) -> (i32, &'static str) {
    // Not every node needs it.
    let is_optional = ["rotate", "disable", "enable", "remove"].contains(&check);
    if is_optional { (0, "warning") } else { (69, "problem") }
}

#[test]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
fn capabilities_and_paths_of_a_server_s_policies_are_named() {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Bao::dev());
    server.must(&["secrets", "enable", "transit"]);
    server.must(&["write", "-f", "transit/keys/node_2Fmain", "type=ed25519"]);
    let mut policies = vec!["default"];
    let key = "  keys: [{ id: node/main, type: ed25519 }]\n";
    folder.write("node.yaml", vault(&server, true) + key);
    for (policy, check, missing, rules) in [
        (
            "1",
            "list",
            "`list` on `transit/keys`",
            r#"path "transit/keys" { capabilities = ["list"] }"#,
        ),
        (
            "2",
            "keys",
            "`read` on `transit/keys/node_2Fmain`",
            r#"path "transit/keys/node_2Fmain" { capabilities = ["read"] }"#,
        ),
        (
            "3",
            "create",
            "`read` on `transit/keys/kms-doctor_2Fed25519-",
            r#"path "transit/keys/+" { capabilities = ["read"] }"#,
        ),
        (
            "4",
            "create",
            "`create` and `update` on `transit/keys/kms-doctor_2Fed25519-",
            r#"path "transit/keys/+" { capabilities = ["create", "update"] }"#,
        ),
        (
            "5",
            "sign",
            "`update` on `transit/sign/kms-doctor_2Fed25519-",
            r#"path "transit/sign/+" { capabilities = ["update"] }"#,
        ),
        (
            "6",
            "rotate",
            "/rotate`",
            r#"path "transit/keys/+/rotate" { capabilities = ["update"] }"#,
        ),
        (
            "7",
            "disable",
            "`delete` on `transit/keys/kms-doctor_2Fed25519-",
            r#"path "transit/keys/+/soft-delete" { capabilities = ["delete"] }"#,
        ),
        (
            "8",
            "enable",
            "/soft-delete-restore`",
            r#"path "transit/keys/+/soft-delete-restore" { capabilities = ["update"] }"#,
        ),
        (
            "9",
            "remove",
            "/config` and `delete` on `transit/keys/kms-doctor_2Fed25519-",
            "path \"transit/keys/+/config\" { capabilities = [\"update\"] }\n\
             path \"transit/keys/+\" { capabilities = [\"delete\"] }",
        ),
    ] {
        folder.write("token", server.token(&policies, "1h"));
        let (code, ended) = how(check);
        let (report, _) = settings_report(&folder, &[], code);
        let advice = advice(&report, &format!("vault: {check}"), ended);
        assert!(advice.starts_with("grant ") && advice.contains(missing), "{missing}: {report}");
        // What is named is enough to get on.
        server.policy(policy, rules);
        policies.push(policy);
    }
    folder.write("token", server.token(&policies, "1h"));
    let (report, _) = settings_report(&folder, &[], 0);
    for check in ["list", "rotate", "disable", "enable", "remove"] {
        assert_eq!(level(&report, &format!("vault: {check}")), "ok", "{check}: {report}");
    }

    // A token that may not even look at itself.
    folder.write("token", "s.nobody");
    let (report, _) = settings_report(&folder, &[], 69);
    let advice = advice(&report, "vault: open", "problem");
    assert_eq!(advice, "grant `read` on `auth/token/lookup-self`");
}

#[test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
fn actions_of_aws_are_named() {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let aws = runtime.block_on(Ministack::start());
    let proxy = runtime.block_on(Proxy::before(aws.address()));
    aws.must(
        "CreateKey",
        &serde_json::json!({ "KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY" }),
    );
    let key = aws.keys()[0]["KeyId"].as_str().unwrap().to_owned();
    let profile = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    folder.write("credentials", profile);
    folder.write(
        "node.yaml",
        format!(
            "kms:\n  backends:\n    cloud: {{ type: aws, region: us-east-1, endpoint_override: \"{}\", keys: {{ main: {key} }}, \
             credentials: {{ profile: {{ file: credentials, name: default }} }} }}\n  \
             keys: [{{ id: main, type: ed25519 }}]\n",
            proxy.url()
        ),
    );
    let denied = |action: &str| {
        let user = "arn:aws:iam::111122223333:user/node";
        let why = if action.is_empty() {
            format!("User: {user} may not do that")
        } else {
            format!(
                "User: {user} is not authorized to perform: {action} on resource: * because no \
                 identity-based policy allows the {action} action"
            )
        };
        let body = serde_json::json!({ "__type": "AccessDeniedException", "Message": why });
        Fault::Answer(Answer::new(400, body.to_string()))
    };
    for (check, operation, named, expected) in [
        ("keys", "GetPublicKey", "kms:GetPublicKey", "grant `kms:GetPublicKey`"),
        ("create", "CreateKey", "kms:CreateKey", "grant `kms:CreateKey`"),
        ("create", "CreateKey", "kms:TagResource", "grant `kms:TagResource`"),
        (
            "create",
            "CreateKey",
            "",
            "grant `kms:CreateKey` and `kms:TagResource` and `kms:CreateAlias`",
        ),
        ("sign", "TrentService.Sign", "", "grant `kms:Sign`"),
        ("rotate", "UpdateAlias", "", "grant `kms:CreateKey`"),
        ("rotate", "UpdateAlias", "kms:UpdateAlias", "grant `kms:UpdateAlias`: the node"),
        ("disable", "DisableKey", "", "grant `kms:DisableKey`"),
        ("enable", "EnableKey", "", "grant `kms:EnableKey`"),
        ("remove", "ScheduleKeyDeletion", "", "grant `kms:ScheduleKeyDeletion`"),
    ] {
        proxy.all_right();
        proxy.next_at(operation, denied(named), 2);
        let (code, ended) = how(check);
        let (report, _) = settings_report(&folder, &[], code);
        let advice = advice(&report, &format!("cloud: {check}"), ended);
        assert!(advice.starts_with(expected), "{operation} {named}: {report}");
    }
}

#[test]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
fn logins_and_mechanisms_of_a_token_are_named() {
    let (folder, token) = (Folder::new(), SoftHsm::start());
    let module = SoftHsm::faulty_module(&folder.path(""));
    folder.write("pin", SoftHsm::PIN);
    folder.write(
        "node.yaml",
        format!(
            "kms:\n  backends:\n    hsm: {{ type: pkcs11, module: {}, token: {{ label: {} }}, pin: {{ file: pin }} }}\n",
            module.display(),
            token.label()
        ),
    );
    let report = || -> Value {
        let mut command = folder.command(["--json", "doctor", "--settings", "node.yaml"]);
        command.env("FAULTY_MODULE", SoftHsm::module());
        command.env("LOGIN_ANSWERS", folder.path("login"));
        command.env("NO_KEY_PAIRS_WHILE", folder.path("no-key-pairs"));
        let run = Run::of(&command.output().unwrap());
        assert_eq!(run.code, 69, "{} {}", run.out, run.err);
        serde_json::from_str(run.out.lines().next().unwrap()).unwrap()
    };
    folder.write("no-key-pairs", "");
    let no_pairs = report();
    let text = no_pairs.to_string();
    for mechanism in ["CKM_EC_EDWARDS_KEY_PAIR_GEN", "CKM_EC_KEY_PAIR_GEN"] {
        assert!(
            text.contains(&format!("`C_GenerateKeyPair` by mechanism `{mechanism}`")),
            "{text}"
        );
    }
    assert!(advice(&no_pairs, "hsm: create", "problem").starts_with("grant "), "{text}");

    // CKR_PIN_LOCKED
    folder.write("login", "a4");
    let locked = report();
    let expected = "grant `C_Login` as `CKU_USER` at the token";
    assert!(advice(&locked, "hsm: open", "problem").starts_with(expected), "{locked}");

    // One that holds what opens a store.
    folder.write(
        "node.yaml",
        format!(
            "kms:\n  backends:\n    store: {{ type: keystore, path: new.keystore, create: true, unlock: {{ pkcs11: \
             {{ module: {}, token: {{ label: {} }}, pin: {{ file: pin }}, key: k, if_missing: generate }} }} }}\n",
            module.display(),
            token.label()
        ),
    );
    let locked = report();
    assert!(advice(&locked, "store: open", "problem").starts_with(expected), "{locked}");
}

#[test]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
fn what_a_policy_must_allow_who_opens_a_store_is_named() {
    let folder = Folder::empty();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Bao::dev());
    server.must(&["secrets", "enable", "transit"]);
    server.must(&["write", "-f", "transit/keys/node"]);
    folder.write(
        "node.yaml",
        format!(
            "kms:\n  backends:\n    store: {{ type: keystore, path: node.keystore, create: true, unlock: {{ vault: \
             {{ address: \"{}\", allow_http: true, key: node, auth: {{ token: {{ file: token }} }} }} }} }}\n",
            server.url()
        ),
    );
    let can = |operations: &[&str]| {
        let rule =
            |it: &&str| format!("path \"transit/{it}/node\" {{ capabilities = [\"update\"] }}\n");
        server.policy("opener", &operations.iter().map(rule).collect::<String>());
        folder.write("token", server.token(&["opener", "default"], "1h"));
    };
    for (operations, missing) in [
        (&["decrypt"][..], "grant `update` on `transit/encrypt/node`"),
        (&["encrypt"], "grant `update` on `transit/decrypt/node`"),
    ] {
        can(operations);
        let (report, _) = settings_report(&folder, &[], 69);
        assert_eq!(advice(&report, "store: open", "problem"), missing, "{report}");
        can(&["encrypt", "decrypt"]);
        let (report, _) = settings_report(&folder, &[], 0);
        assert_eq!(level(&report, "store: open"), "ok", "{report}");
    }
}

#[test]
#[ignore = "needs ministack: cargo xtask test sets it up"]
fn actions_of_aws_that_open_a_store_are_named() {
    let folder = Folder::empty();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let aws = runtime.block_on(Ministack::start());
    let proxy = runtime.block_on(Proxy::before(aws.address()));
    let spec = serde_json::json!({ "KeySpec": "SYMMETRIC_DEFAULT" });
    aws.must("CreateKey", &spec);
    let key = aws.keys()[0]["KeyId"].as_str().unwrap().to_owned();
    let profile = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    folder.write("credentials", profile);
    folder.write(
        "node.yaml",
        format!(
            "kms:\n  backends:\n    store: {{ type: keystore, path: node.keystore, create: true, unlock: {{ aws: \
             {{ region: us-east-1, endpoint_override: \"{}\", key: {key}, credentials: {{ profile: \
             {{ file: credentials, name: default }} }} }} }} }}\n",
            proxy.url()
        ),
    );
    for action in ["Encrypt", "Decrypt"] {
        let body = serde_json::json!({ "__type": "AccessDeniedException", "Message": "no" });
        let refused = Fault::Answer(Answer::new(400, body.to_string()));
        proxy.next_at(&format!("TrentService.{action}"), refused, 2);
        let (report, _) = settings_report(&folder, &[], 69);
        let expected = format!("grant `kms:{action}`");
        assert_eq!(advice(&report, "store: open", "problem"), expected, "{report}");
        proxy.all_right();
        settings_report(&folder, &[], 0);
    }
}

#[test]
#[ignore = "needs SoftHSM2: cargo xtask test sets it up"]
fn a_key_that_has_a_name_in_a_token_and_is_missing_is_never_made() {
    let (folder, token) = (Folder::new(), SoftHsm::start());
    folder.write("pin", SoftHsm::PIN);
    folder.write(
        "node.yaml",
        format!(
            "kms:\n  backends:\n    hsm: {{ type: pkcs11, module: {}, token: {{ label: {} }}, pin: {{ file: pin }}, \
             if_missing: generate, keys: {{ proposer: {{ label: Proposer }} }} }}\n  \
             keys: [{{ id: proposer, type: ed25519, if_missing: generate }}, {{ id: other, type: ed25519 }}]\n",
            SoftHsm::module().display(),
            token.label()
        ),
    );
    let (report, _) = settings_report(&folder, &["--no-create"], 69);
    let advised = advice(&report, "hsm: keys", "problem");
    assert!(advised.contains("what the backend's `keys` say"), "{report}");
    assert_eq!(report["problems"], 1, "{report}");
    assert_eq!(advice(&report, "hsm: keys", "warning"), "the node makes it at its start");
}
