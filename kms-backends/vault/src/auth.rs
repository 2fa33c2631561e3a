//! How this node shows the server who it is, as settings say it.

use std::path::PathBuf;

use kms_secrets::PassphraseSource;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::MountPath;

/// How to get a token. Holds no secret; what is a secret is read again at each login.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AuthSettings {
    /// A token that somebody else has got: from a file (which a Vault agent may write anew), an environment
    /// variable or a program. It is renewed, and never revoked.
    #[serde(deserialize_with = "unprompted")]
    Token(PassphraseSource),
    /// AppRole.
    Approle(AppRoleSettings),
    /// The service account of a Kubernetes pod.
    Kubernetes(KubernetesSettings),
}

/// AppRole: a role and what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRoleSettings {
    /// The role's id, which is no secret.
    pub role_id: String,
    /// Where the secret id is.
    #[serde(deserialize_with = "unprompted")]
    pub secret_id: PassphraseSource,
    /// Where the method is mounted.
    #[serde(default = "approle")]
    pub mount: MountPath,
}

/// Kubernetes: a role and the pod's token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSettings {
    /// The role's name.
    pub role: String,
    /// The file with the service account's token, which Kubernetes writes anew and which others may read.
    /// A relative path is taken from the folder of the settings.
    #[serde(default = "service_account_token")]
    pub token_file: PathBuf,
    /// Where the method is mounted.
    #[serde(default = "kubernetes")]
    pub mount: MountPath,
}

impl AuthSettings {
    /// The environment variable that holds the secret, if one does.
    pub(crate) fn env_name(&self) -> Option<&str> {
        match self {
            Self::Token(source) => source.env_name(),
            Self::Approle(settings) => settings.secret_id.env_name(),
            Self::Kubernetes(_) => None,
        }
    }
}

fn approle() -> MountPath {
    MountPath::known("approle")
}

fn kubernetes() -> MountPath {
    MountPath::known("kubernetes")
}

fn service_account_token() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}

/// Nobody sits at the terminal when a node has to log in again.
fn unprompted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PassphraseSource, D::Error> {
    match PassphraseSource::deserialize(deserializer)? {
        PassphraseSource::Prompt => Err(D::Error::custom(
            "`prompt` can't be: the secret is read again whenever the node logs in",
        )),
        source => Ok(source),
    }
}
