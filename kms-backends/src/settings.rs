//! The tagged settings section of any backend.

use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, IfMissing, OpenContext, async_trait,
};
use serde::Deserialize;

/// The settings section of a backend: `type` says which one, the other fields are that backend's
/// own. Unknown types and fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnyBackend {
    /// `type: aws` – the key management service of AWS.
    #[cfg(feature = "aws")]
    Aws(Box<kms_backend_aws::AwsSettings>),
    /// `type: keystore` – an encrypted file.
    #[cfg(feature = "keystore")]
    Keystore(kms_backend_keystore::KeystoreSettings<crate::AnyUnlock>),
    /// `type: pkcs11` – a token: an HSM, a smart card.
    #[cfg(feature = "pkcs11")]
    Pkcs11(kms_backend_pkcs11::Pkcs11Settings),
    /// `type: preload` – secrets that the settings point at.
    #[cfg(feature = "preload")]
    Preload(kms_backend_preload::PreloadSettings),
    /// `type: vault` – the Transit engine of HashiCorp Vault or OpenBao.
    #[cfg(feature = "vault")]
    Vault(Box<kms_backend_vault::VaultSettings>),
}

impl AnyBackend {
    /// The file of the token of a service account that it logs in with, where its section names one.
    pub(crate) fn token_file(&self) -> Option<&std::path::Path> {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws(settings) => match settings.credentials.as_ref()? {
                kms_backend_aws::CredentialSource::WebIdentity { token_file, .. } => {
                    Some(token_file)
                }
                _ => None,
            },
            #[cfg(feature = "vault")]
            Self::Vault(settings) => match &settings.auth {
                kms_backend_vault::AuthSettings::Kubernetes(pod) => Some(&pod.token_file),
                _ => None,
            },
            #[allow(unreachable_patterns, reason = "not with every choice of features")]
            _ => None,
        }
    }
}

impl AnyBackend {
    /// Whether the settings say which key there this one is. Such a key is found or missing, and never made.
    #[must_use]
    pub fn has_named(&self, id: &kms_keys::KeyId) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws(settings) => settings.keys.contains_key(id),
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(settings) => settings.keys.contains_key(id),
            #[allow(unreachable_patterns, reason = "not with every choice of features")]
            _ => {
                let _ = id;
                false
            }
        }
    }
}

#[async_trait]
impl BackendSettings for AnyBackend {
    fn capabilities(&self) -> Capabilities {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws(settings) => settings.capabilities(),
            #[cfg(feature = "keystore")]
            Self::Keystore(settings) => settings.capabilities(),
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(settings) => settings.capabilities(),
            #[cfg(feature = "preload")]
            Self::Preload(settings) => settings.capabilities(),
            #[cfg(feature = "vault")]
            Self::Vault(settings) => settings.capabilities(),
        }
    }

    fn if_missing(&self) -> IfMissing {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws(settings) => settings.if_missing(),
            #[cfg(feature = "keystore")]
            Self::Keystore(settings) => settings.if_missing(),
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(settings) => settings.if_missing(),
            #[cfg(feature = "preload")]
            Self::Preload(settings) => settings.if_missing(),
            #[cfg(feature = "vault")]
            Self::Vault(settings) => settings.if_missing(),
        }
    }

    fn env_names(&self) -> Vec<String> {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws(settings) => settings.env_names(),
            #[cfg(feature = "keystore")]
            Self::Keystore(settings) => settings.env_names(),
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(settings) => settings.env_names(),
            #[cfg(feature = "preload")]
            Self::Preload(settings) => settings.env_names(),
            #[cfg(feature = "vault")]
            Self::Vault(settings) => settings.env_names(),
        }
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws(settings) => settings.open(context).await,
            #[cfg(feature = "keystore")]
            Self::Keystore(settings) => settings.open(context).await,
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(settings) => settings.open(context).await,
            #[cfg(feature = "preload")]
            Self::Preload(settings) => settings.open(context).await,
            #[cfg(feature = "vault")]
            Self::Vault(settings) => settings.open(context).await,
        }
    }
}

#[cfg(all(test, feature = "keystore", feature = "preload"))]
mod tests {
    use super::*;

    #[test]
    fn the_type_picks_the_backend() {
        let backend: AnyBackend = serde_json::from_str(r#"{"type": "preload"}"#).unwrap();
        assert_eq!(backend, AnyBackend::Preload(kms_backend_preload::PreloadSettings {}));
        let backend: AnyBackend = serde_json::from_str(
            r#"{"type": "keystore", "path": "x", "unlock": {"passphrase": {"env": "P"}}}"#,
        )
        .unwrap();
        assert!(matches!(&backend, AnyBackend::Keystore(settings) if !settings.create));
        assert_eq!(backend.env_names(), ["P"]);
    }

    #[test]
    fn unknown_types_and_fields_are_refused_by_name() {
        for (json, expected) in [
            (r#"{"type": "floppy"}"#, "unknown variant `floppy`"),
            (r#"{"type": "keystore", "path": "x"}"#, "missing field `unlock`"),
            (r#"{"type": "preload", "path": "x"}"#, "unknown field `path`"),
            (r#"{}"#, "missing field `type`"),
        ] {
            let error = serde_json::from_str::<AnyBackend>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[cfg(feature = "aws")]
    #[test]
    fn a_section_for_aws_comes_from_the_environment_too() {
        let section = r#"{ type = "aws", region = "eu-north-1", audit-logging = false,
            endpoint-override = "https://kms.example" }"#
            .replace('\n', "");
        let found = crate::InjectedBackend::from_environment(|name| match name {
            crate::environment::ENABLED => Some("true".into()),
            crate::environment::VALUE => Some(section.clone().into()),
            crate::environment::SERVICE_ACCOUNT => Some("system:serviceaccount:a:b".into()),
            _ => None,
        });
        let AnyBackend::Aws(settings) = found.unwrap().unwrap().backend else { panic!() };
        assert_eq!(settings.region.as_deref(), Some("eu-north-1"));
        assert_eq!(settings.endpoint_override.as_deref(), Some("https://kms.example"));
        assert_eq!(settings.audit_logging, Some(false));
        assert_eq!(settings.env_names()[0], "AWS_ACCESS_KEY_ID");
    }

    #[cfg(feature = "vault")]
    #[test]
    fn a_section_for_vault_is_read_with_its_units_and_checks() {
        let section = r#"{"type": "vault", "address": "https://vault.example", "auth":
            {"approle": {"role_id": "r", "secret_id": {"env": "S"}}}, "remote": {"timeout": "1s"}}"#;
        let backend: AnyBackend = serde_json::from_str(section).unwrap();
        assert_eq!(backend.env_names(), ["S"]);
        assert!(backend.capabilities().schemes(kms_keys::KeyType::Secp256k1).is_empty());
        let plain = section.replace("https", "http");
        let error = serde_json::from_str::<AnyBackend>(&plain).unwrap_err().to_string();
        assert!(error.contains("allow_http"), "{error}");
    }
}
