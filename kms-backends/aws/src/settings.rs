//! The settings section of this backend.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, IfMissing, KeyCapability, OpenContext,
    Operation, SourceUse, async_trait,
};
use kms_backend_remote::RemoteSettings;
use kms_keys::{KeyId, KeyType, SigningScheme};
use serde::{Deserialize, Deserializer, de};

use crate::backend::Aws;
use crate::credentials::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN};
use crate::signer::RAW;

/// Settings of this backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSettings {
    /// The region; left out, what `AWS_REGION` or `AWS_DEFAULT_REGION` says.
    #[serde(default)]
    pub region: Option<String>,
    /// Where the service is asked instead of the region's own address: `http://…` or `https://…`.
    #[serde(default)]
    pub endpoint_override: Option<String>,
    /// Where the credentials are. Left out: the environment's if there are some, else a web identity that
    /// the environment names, else those of a profile.
    #[serde(default)]
    pub credentials: Option<CredentialSource>,
    /// What aliases of this node's keys begin with, after `alias/`; default `kms/`. Letters, digits, `/`,
    /// `_` and `-`, at most 64, and not `aws/`.
    #[serde(default = "kms", deserialize_with = "prefix")]
    pub alias_prefix: String,
    /// Keys that are there already: by key id, ARN or alias (`alias/…`). They are not made, not rotated and
    /// have no older versions.
    #[serde(default)]
    pub keys: BTreeMap<KeyId, String>,
    /// The description of keys that are made; left out, one that names the key.
    #[serde(default)]
    pub description: Option<String>,
    /// Tags of keys that are made, besides `kms-id`, `kms-version`, `kms-creation` and `kms-alias`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What to do about a missing key whose own settings don't say.
    #[serde(default)]
    pub if_missing: IfMissing,
    /// What `remote.audit_logging` is, if it is given here.
    #[serde(default)]
    pub audit_logging: Option<bool>,
    /// How it is asked.
    #[serde(default)]
    pub remote: RemoteSettings,
}

/// Where credentials are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum CredentialSource {
    /// In `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary ones, `AWS_SESSION_TOKEN`.
    Environment,
    /// A role that is taken on with a token (`AssumeRoleWithWebIdentity`), as pods of EKS do. The token is
    /// read each time that a new session is needed.
    #[serde(rename_all = "snake_case")]
    WebIdentity {
        /// The token's file; a relative path is taken from the folder of the settings.
        token_file: PathBuf,
        /// The role.
        role_arn: String,
        /// The name of the session; default `kms`.
        #[serde(default)]
        session_name: Option<String>,
        /// Where sessions are asked for instead of the region's own address.
        #[serde(default)]
        endpoint_override: Option<String>,
    },
    /// In a profile of a credentials file, which must be closed to others.
    #[serde(rename_all = "snake_case")]
    Profile {
        /// The file; left out, `AWS_SHARED_CREDENTIALS_FILE`, else `.aws/credentials` in `HOME`.
        #[serde(default)]
        file: Option<PathBuf>,
        /// The profile; left out, `AWS_PROFILE`, else `default`.
        #[serde(default)]
        name: Option<String>,
    },
}

#[async_trait]
impl BackendSettings for AwsSettings {
    fn capabilities(&self) -> Capabilities {
        let ecdsa = [SigningScheme::EcdsaSha256, SigningScheme::EcdsaDigest];
        let mut ed25519 = KeyCapability::new(KeyType::Ed25519, [SigningScheme::Ed25519]);
        ed25519.message_bytes = Some(RAW);
        let operations = [
            Operation::Generate,
            Operation::Rotate,
            Operation::Disable,
            Operation::Enable,
            Operation::ScheduleDelete,
            Operation::CancelDelete,
        ];
        let keys = [ed25519, KeyCapability::new(KeyType::Secp256k1, ecdsa)];
        Capabilities::new(keys, SourceUse::Refused, operations)
    }

    fn if_missing(&self) -> IfMissing {
        self.if_missing
    }

    fn env_names(&self) -> Vec<String> {
        self.secret_variables()
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        Ok(Arc::new(Aws::open(self, context).await?))
    }
}

impl AwsSettings {
    /// The environment variables that may hold credentials.
    pub(crate) fn secret_variables(&self) -> Vec<String> {
        match self.credentials {
            None | Some(CredentialSource::Environment) => {
                [ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN].map(str::to_owned).to_vec()
            }
            Some(_) => Vec::new(),
        }
    }
}

fn kms() -> String {
    "kms/".to_owned()
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let fits = |letter: u8| letter.is_ascii_alphanumeric() || b"/_-".contains(&letter);
    if text.len() <= 64 && text.bytes().all(fits) && !text.starts_with("aws/") {
        return Ok(text);
    }
    let expected = "up to 64 letters, digits, `/`, `_` and `-`, not beginning with `aws/`";
    Err(de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_and_its_mistakes_are_refused() {
        let settings: AwsSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings.alias_prefix, "kms/");
        assert_eq!(settings.env_names(), [ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN]);
        let settings: AwsSettings = serde_json::from_str(
            r#"{"region": "eu-north-1", "keys": {"node/identity": "alias/mine"},
                "credentials": {"profile": {"name": "node"}}, "alias_prefix": ""}"#,
        )
        .unwrap();
        assert_eq!(settings.env_names(), [""; 0]);
        assert_eq!(settings.keys[&KeyId::new("node/identity").unwrap()], "alias/mine");
        for (json, expected) in [
            (r#"{"alias_prefix": "aws/x"}"#, "not beginning with `aws/`"),
            (r#"{"alias_prefix": "a.b"}"#, "up to 64 letters"),
            (
                r#"{"credentials": {"web_identity": {"token_file": "t"}}}"#,
                "missing field `role_arn`",
            ),
            (r#"{"credentials": "floppy"}"#, "unknown variant"),
            (r#"{"endpoint": "x"}"#, "unknown field `endpoint`"),
        ] {
            let error = serde_json::from_str::<AwsSettings>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
