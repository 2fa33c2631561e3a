//! The switch for platforms that inject configuration through the environment: one backend, instead of
//! those of the settings file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::AnyBackend;

/// Turns the switch on if it is `true`, and only then.
pub const ENABLED: &str = "KMS_ENABLED";
/// The backend's section as an inline table of TOML, with `-` or `_` in its names:
/// `{ type = "keystore", path = "keys", unlock = { key-file = "key" } }`.
pub const VALUE: &str = "KMS_VALUE";
/// The service account that the node must run as: the subject of the mounted token, such as
/// `system:serviceaccount:validators:node`.
pub const SERVICE_ACCOUNT: &str = "KMS_SERVICE_ACCOUNT";
/// Where AWS' and others' web hooks say that they mounted the token.
pub const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";

/// Where Kubernetes mounts the token, unless [`TOKEN_FILE`] says otherwise.
const KUBERNETES_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The largest token that is read, in bytes.
const MAX_TOKEN: u64 = 64 * 1024;

/// The backend that the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedBackend {
    /// Its section.
    pub backend: AnyBackend,
    /// The service account that the node must run as.
    pub service_account: String,
    /// Where that account's token is mounted.
    pub token: PathBuf,
}

/// Why the environment's backend is refused. The texts name the variable; of its value they repeat
/// names and nothing that stands behind them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable is missing or empty.
    #[error("{ENABLED} is true and {0} is not set")]
    Missing(&'static str),
    /// A variable is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// The fragment is no inline table.
    #[error("{VALUE}: expected one inline table of TOML, such as {{ type = \"…\", … }}: {0}")]
    NotATable(String),
    /// The fragment is no backend's section.
    #[error("{VALUE}: {0}")]
    Section(String),
    /// There is no service-account token.
    #[error(
        "{SERVICE_ACCOUNT} is set and the service-account token {} can't be read",
        path.display()
    )]
    NoToken {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The mounted token is no JSON web token (RFC 7519) with a subject.
    #[error("{SERVICE_ACCOUNT}: {} holds no JSON web token with a subject", path.display())]
    NotAToken {
        /// Where it is.
        path: PathBuf,
    },
    /// The node runs as somebody else.
    #[error("{SERVICE_ACCOUNT} is {expected}, and the mounted token {} is of {found}", path.display())]
    OtherAccount {
        /// What the variable says.
        expected: String,
        /// The token's subject.
        found: String,
        /// Where the token is.
        path: PathBuf,
    },
}

impl InjectedBackend {
    /// What the environment asks for, if it does; `variable` gives a variable's value. Touches nothing
    /// else.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, EnvironmentError> {
        let text = |name: &'static str| match variable(name).map(OsString::into_string) {
            None => Err(EnvironmentError::Missing(name)),
            Some(Ok(value)) if value.is_empty() => Err(EnvironmentError::Missing(name)),
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => Err(EnvironmentError::NotText(name)),
        };
        if variable(ENABLED).is_none_or(|value| value != "true") {
            return Ok(None);
        }
        let service_account = text(SERVICE_ACCOUNT)?;
        let backend = parse(&text(VALUE)?)?;
        let token = variable(TOKEN_FILE).filter(|path| !path.is_empty()).map(PathBuf::from);
        // What the backend shows when it logs in, where its section says so.
        let token = backend.token_file().map(Path::to_owned).or(token);
        let token = token.unwrap_or_else(|| PathBuf::from(KUBERNETES_TOKEN));
        Ok(Some(Self { backend, service_account, token }))
    }

    /// Whether the mounted token is of the service account. The token's signature is for those to check
    /// whom it is shown to. Blocks while the file is read.
    ///
    /// # Errors
    /// [`EnvironmentError::NoToken`], [`EnvironmentError::NotAToken`],
    /// [`EnvironmentError::OtherAccount`].
    pub fn check_account(&self) -> Result<(), EnvironmentError> {
        let found = subject(&self.token)?;
        if found == self.service_account {
            return Ok(());
        }
        let (expected, path) = (self.service_account.clone(), self.token.clone());
        Err(EnvironmentError::OtherAccount { expected, found, path })
    }
}

fn parse(fragment: &str) -> Result<AnyBackend, EnvironmentError> {
    let not_a_table = |error: &str| EnvironmentError::NotATable(error.to_owned());
    let document: toml::Table = format!("value = {fragment}")
        .parse()
        .map_err(|error: toml::de::Error| not_a_table(error.message()))?;
    let value = match document.get("value") {
        Some(value @ toml::Value::Table(_)) if document.len() == 1 => value.clone(),
        _ => return Err(not_a_table("found something else")),
    };
    let value = with_underscores(value);
    AnyBackend::deserialize(value.clone())
        .map_err(|error| EnvironmentError::Section(without_values(error.message(), &value)))
}

/// Tables whose names are the operator's: ids of keys, and tags.
const NAMED_BY_OPERATORS: [&str; 2] = ["keys", "tags"];

/// The same with `_` for `-` in all names of settings.
fn with_underscores(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::Table(table) => table
            .into_iter()
            .map(|(name, value)| {
                let theirs = NAMED_BY_OPERATORS.contains(&name.as_str());
                (name.replace('-', "_"), if theirs { value } else { with_underscores(value) })
            })
            .collect::<toml::Table>()
            .into(),
        toml::Value::Array(items) => {
            toml::Value::Array(items.into_iter().map(with_underscores).collect())
        }
        other => other,
    }
}

/// `message` without what stands in `value`, but for its type: somebody may have put a secret there.
fn without_values(message: &str, value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) if !text.is_empty() => message.replace(text.as_str(), "…"),
        toml::Value::Array(items) => {
            items.iter().fold(message.to_owned(), |message, item| without_values(&message, item))
        }
        toml::Value::Table(table) => table
            .iter()
            .filter(|(name, _)| *name != "type")
            .fold(message.to_owned(), |message, (_, value)| without_values(&message, value)),
        toml::Value::Integer(number) => message.replace(&number.to_string(), "…"),
        toml::Value::Float(number) => message.replace(&number.to_string(), "…"),
        _ => message.to_owned(),
    }
}

/// The subject of the JSON web token in the file at `path`.
fn subject(path: &Path) -> Result<String, EnvironmentError> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }

    let no_token = |cause| EnvironmentError::NoToken { path: path.to_owned(), cause };
    let mut token = Zeroizing::new(vec![0; MAX_TOKEN as usize + 1]);
    let mut len = 0;
    let mut file = File::open(path).map_err(no_token)?;
    while len < token.len() {
        match file.read(&mut token[len..]).map_err(no_token)? {
            0 => break,
            read => len += read,
        }
    }
    let not_a_token = || EnvironmentError::NotAToken { path: path.to_owned() };
    let text = std::str::from_utf8(&token[..len]).map_err(|_| not_a_token())?.trim_end();
    let mut parts = text.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(not_a_token());
    };
    let claims = Base64UrlUnpadded::decode_vec(claims).map_err(|_| not_a_token())?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| not_a_token())?;
    Ok(claims.sub)
}

#[cfg(test)]
#[cfg(feature = "keystore")]
mod tests {
    use std::collections::HashMap;

    use tempfile::TempDir;

    use super::*;

    const ACCOUNT: &str = "system:serviceaccount:validators:node";
    const KEYSTORE: &str = r#"{ type = "keystore", path = "keys", unlock = { key-file = "key" } }"#;

    /// A mounted token of [`ACCOUNT`], and variables that are all right.
    struct Scene {
        _folder: TempDir,
        token: PathBuf,
        variables: HashMap<&'static str, OsString>,
    }

    impl Scene {
        fn good() -> Self {
            let folder = TempDir::new().unwrap();
            let token = folder.path().join("token");
            let claims = format!(r#"{{"iss":"x","sub":"{ACCOUNT}"}}"#);
            let claims = Base64UrlUnpadded::encode_string(claims.as_bytes());
            std::fs::write(&token, format!("e30.{claims}.c2ln\n")).unwrap();
            let variables = HashMap::from([
                (ENABLED, "true".into()),
                (VALUE, KEYSTORE.into()),
                (SERVICE_ACCOUNT, ACCOUNT.into()),
                (TOKEN_FILE, token.clone().into()),
            ]);
            Self { _folder: folder, token, variables }
        }

        fn read(&self) -> Result<Option<InjectedBackend>, EnvironmentError> {
            InjectedBackend::from_environment(|name| self.variables.get(name).cloned())
        }

        #[track_caller]
        fn refused(&self) -> String {
            let read = self.read().map(Option::unwrap);
            read.and_then(|injected| injected.check_account()).unwrap_err().to_string()
        }
    }

    #[test]
    fn an_enabled_backend_is_read_from_its_fragment() {
        let scene = Scene::good();
        let injected = scene.read().unwrap().unwrap();
        injected.check_account().unwrap();
        assert_eq!(injected.service_account, ACCOUNT);
        let json = r#"{"type": "keystore", "path": "keys", "unlock": {"key_file": "key"}}"#;
        assert_eq!(injected.backend, serde_json::from_str(json).unwrap());
    }

    #[test]
    fn only_true_enables() {
        for value in ["", "false", "TRUE", "True", "1", "yes", "true "] {
            let mut scene = Scene::good();
            scene.variables.insert(ENABLED, value.into());
            // What else is there doesn't matter then.
            scene.variables.insert(VALUE, "nonsense".into());
            assert_eq!(scene.read().unwrap(), None, "{value:?}");
        }
        let mut scene = Scene::good();
        scene.variables.remove(ENABLED);
        assert_eq!(scene.read().unwrap(), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        for name in [VALUE, SERVICE_ACCOUNT] {
            let mut scene = Scene::good();
            scene.variables.insert(name, "".into());
            assert_eq!(scene.refused(), format!("KMS_ENABLED is true and {name} is not set"));
            scene.variables.remove(name);
            assert_eq!(scene.refused(), format!("KMS_ENABLED is true and {name} is not set"));
        }
    }

    #[test]
    fn a_fragment_that_is_no_section_is_refused_and_its_values_are_not_repeated() {
        let secret = "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3";
        for (fragment, expected) in [
            ("nonsense", "KMS_VALUE: expected one inline table"),
            ("\"text\"", "KMS_VALUE: expected one inline table"),
            ("{ type = \"keystore\"", "KMS_VALUE: expected one inline table"),
            ("{ type = \"preload\" }\nother = 1", "KMS_VALUE: expected one inline table"),
            ("{ path = \"keys\" }", "KMS_VALUE: missing field `type`"),
            ("{ type = \"floppy\" }", "KMS_VALUE: unknown variant `floppy`"),
            ("{ type = \"keystore\", path = \"keys\" }", "KMS_VALUE: missing field `unlock`"),
            (&format!("{{ type = \"keystore\", path = 1, x = \"{secret}\" }}"), "KMS_VALUE: "),
            ("{ type = \"keystore\", path = \"k\", unlock = 24681357 }", "KMS_VALUE: "),
            (
                &format!("{{ type = \"keystore\", path = \"k\", unlock = \"{secret}\" }}"),
                "KMS_VALUE: ",
            ),
        ] {
            let mut scene = Scene::good();
            scene.variables.insert(VALUE, fragment.into());
            let refused = scene.refused();
            assert!(refused.starts_with(expected), "{fragment}: {refused}");
            assert!(!refused.contains(secret) && !refused.contains("24681357"), "{refused}");
        }
    }

    #[test]
    fn the_mounted_token_must_be_of_the_account() {
        let mut scene = Scene::good();
        scene.variables.insert(SERVICE_ACCOUNT, "system:serviceaccount:other:node".into());
        let refused = scene.refused();
        assert!(refused.starts_with("KMS_SERVICE_ACCOUNT is system:serviceaccount:other"));
        assert!(refused.contains(ACCOUNT), "{refused}");
    }

    #[test]
    #[cfg(feature = "vault")]
    fn the_token_that_the_backend_shows_is_the_one_that_is_looked_at() {
        let mut scene = Scene::good();
        let other = scene.token.with_file_name("other");
        std::fs::rename(&scene.token, &other).unwrap();
        let section = format!(
            "{{ type = \"vault\", address = \"https://v\", \
             auth = {{ kubernetes = {{ role = \"r\", token-file = {other:?} }} }} }}"
        );
        scene.variables.insert(VALUE, section.into());
        scene.read().unwrap().unwrap().check_account().unwrap();
        std::fs::remove_file(&other).unwrap();
        assert!(scene.refused().contains("other"));
    }

    #[test]
    #[cfg(feature = "aws")]
    fn ids_and_tags_are_kept_as_they_are() {
        let mut scene = Scene::good();
        let section = "{ type = \"aws\", alias-prefix = \"x/\", keys = { attester-0 = \"alias/a-b\" }, \
                       tags = { cost-center = \"7\" } }";
        scene.variables.insert(VALUE, section.into());
        let json = r#"{ "type": "aws", "alias_prefix": "x/", "keys": { "attester-0": "alias/a-b" },
                        "tags": { "cost-center": "7" } }"#;
        let read = scene.read().unwrap().unwrap().backend;
        assert_eq!(read, serde_json::from_str(json).unwrap());
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let large = "a".repeat(MAX_TOKEN as usize + 1);
        for text in ["", "abc", "a.b.c", "e30.e30.e30", "e30.e30", "a.b.c.d", &large] {
            let scene = Scene::good();
            std::fs::write(&scene.token, text).unwrap();
            let refused = scene.refused();
            assert!(refused.contains("holds no JSON web token with a subject"), "{refused}");
        }
        let scene = Scene::good();
        std::fs::remove_file(&scene.token).unwrap();
        assert!(scene.refused().contains("can't be read"));
    }
}
