//! A backend that the environment asks for.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::support::Folder;

const ACCOUNT: &str = "system:serviceaccount:validators:node";

/// A node whose settings have a store that isn't there, and a mounted token.
struct Scene {
    folder: Folder,
}

impl Scene {
    fn new() -> Self {
        let folder = Folder::good();
        folder.settings_with(
            "local: { type: preload }",
            "local: { type: keystore, path: nowhere, unlock: { key_file: nowhere } }",
        );
        let claims = format!(r#"{{"sub":"{ACCOUNT}"}}"#);
        let token = format!("e30.{}.c2ln", Base64UrlUnpadded::encode_string(claims.as_bytes()));
        folder.secret("token", token.as_bytes());
        Self { folder }
    }

    /// Runs the node for one slot in this environment: how it ended, and what it said.
    fn run(&self, account: &str, value: &str) -> (Option<i32>, String) {
        let mut command = self.folder.command();
        command.env("KMS_ENABLED", "true").env("KMS_VALUE", value);
        command.env("KMS_SERVICE_ACCOUNT", account);
        command.env("AWS_WEB_IDENTITY_TOKEN_FILE", self.folder.path("token"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn the_environment_s_backend_replaces_those_of_the_settings() {
    let (code, log) = Scene::new().run(ACCOUNT, "{ type = \"preload\" }");
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("KMS_ENABLED is true") && log.contains("passed over"), "{log}");
}

#[test]
fn a_fragment_that_can_t_be_read_is_refused_by_the_variable_s_name() {
    let scene = Scene::new();
    for (account, value, expected) in [
        (ACCOUNT, "", "KMS_ENABLED is true and KMS_VALUE is not set"),
        (ACCOUNT, "{ type = \"keystore\" }", "KMS_VALUE: missing field `path`"),
        (ACCOUNT, "nonsense", "KMS_VALUE: expected one inline table"),
        ("", "{ type = \"preload\" }", "KMS_SERVICE_ACCOUNT is not set"),
    ] {
        let (code, log) = scene.run(account, value);
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains(expected), "{value}: {log}");
    }
}

#[test]
fn a_node_of_another_account_is_refused() {
    let scene = Scene::new();
    let (code, log) = scene.run("system:serviceaccount:validators:other", "{type = \"preload\"}");
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains("KMS_SERVICE_ACCOUNT is") && log.contains(ACCOUNT), "{log}");
    scene.folder.remove("token");
    let (code, log) = scene.run(ACCOUNT, "{ type = \"preload\" }");
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains("can't be read"), "{log}");
}
