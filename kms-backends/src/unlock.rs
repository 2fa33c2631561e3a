//! What may open a keystore.

use std::path::PathBuf;

use kms_backend::{BackendError, OpenContext, async_trait};
use kms_backend_keystore::{UnlockSecret, UnlockSettings, UnlockSource};
use kms_secrets::PassphraseSource;
use serde::Deserialize;

/// What opens a keystore: a secret that this machine has, or somebody else who is asked. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AnyUnlock {
    /// A passphrase.
    Passphrase(PassphraseSource),
    /// A key file: at least 32 bytes that nobody can guess, used as they are.
    KeyFile(PathBuf),
    /// A key of AWS KMS.
    #[cfg(feature = "aws")]
    Aws(Box<kms_backend_aws::AwsUnlock>),
    /// An AES key in a PKCS#11 token.
    #[cfg(feature = "pkcs11")]
    Pkcs11(Box<kms_backend_pkcs11::Pkcs11Unlock>),
    /// A key of the Transit engine of HashiCorp Vault or OpenBao.
    #[cfg(feature = "vault")]
    Vault(Box<kms_backend_vault::VaultUnlock>),
}

impl AnyUnlock {
    /// The names, as a store's header has them, of those who can be asked: whose features are turned on.
    pub const PROVIDERS: &[&str] = &[
        #[cfg(feature = "aws")]
        "aws",
        #[cfg(feature = "pkcs11")]
        "pkcs11",
        #[cfg(feature = "vault")]
        "vault",
    ];
}

#[async_trait]
impl UnlockSettings for AnyUnlock {
    fn env_names(&self) -> Vec<String> {
        match self {
            Self::Passphrase(source) => source.env_name().map(str::to_owned).into_iter().collect(),
            Self::KeyFile(_) => Vec::new(),
            #[cfg(feature = "aws")]
            Self::Aws(aws) => aws.env_names(),
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(pkcs11) => pkcs11.env_names(),
            #[cfg(feature = "vault")]
            Self::Vault(vault) => vault.env_names(),
        }
    }

    async fn secret(&self, context: &OpenContext) -> Result<UnlockSecret, BackendError> {
        match self {
            Self::Passphrase(source) => {
                UnlockSource::Passphrase(source.clone()).secret(context).await
            }
            Self::KeyFile(path) => UnlockSource::KeyFile(path.clone()).secret(context).await,
            #[cfg(feature = "aws")]
            Self::Aws(aws) => aws.secret(context).await,
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(pkcs11) => pkcs11.secret(context).await,
            #[cfg(feature = "vault")]
            Self::Vault(vault) => vault.secret(context).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_way_to_open_a_store_is_refused() {
        for (json, expected) in [
            (r#"{"floppy": {}}"#, "unknown variant `floppy`"),
            (r#"{"passphrase": {"env": "P"}, "key_file": "k"}"#, ""),
            ("{}", ""),
        ] {
            let error = serde_json::from_str::<AnyUnlock>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[cfg(feature = "aws")]
    #[test]
    fn a_key_of_aws_is_read_with_its_checks() {
        let section = r#"{"aws": {"region": "eu-north-1", "key": "alias/node"}}"#;
        let unlock: AnyUnlock = serde_json::from_str(section).unwrap();
        assert_eq!(unlock.env_names()[0], "AWS_ACCESS_KEY_ID");
        for (from, to, expected) in [
            ("alias/node", "a b", "a key's id"),
            ("\"key\":", "\"keys\":", "unknown field `keys`"),
            ("\"region\": \"eu-north-1\"", "\"endpoint_override\": \"http://x\"", "loopback"),
        ] {
            let error = serde_json::from_str::<AnyUnlock>(&section.replace(from, to));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[cfg(feature = "pkcs11")]
    #[test]
    fn a_key_in_a_token_is_read_with_its_checks() {
        let section = r#"{"pkcs11": {"module": "m.so", "token": {"label": "t"}, "pin": {"env": "P"},
            "key": "store", "if_missing": "generate"}}"#;
        let unlock: AnyUnlock = serde_json::from_str(section).unwrap();
        assert_eq!(unlock.env_names(), ["P"]);
        for (from, to, expected) in [
            ("\"store\"", "\"\"", "a key's label"),
            ("\"key\":", "\"keys\":", "unknown field `keys`"),
            ("{\"env\": \"P\"}", "\"2468\"", ""),
        ] {
            let error = serde_json::from_str::<AnyUnlock>(&section.replace(from, to));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("2468"), "{to}: {error}");
        }
    }

    #[cfg(feature = "vault")]
    #[test]
    fn a_key_of_vault_is_read_with_its_checks() {
        let section = r#"{"vault": {"address": "https://vault.example", "key": "node.store",
            "auth": {"approle": {"role_id": "r", "secret_id": {"env": "S"}}}}}"#;
        let unlock: AnyUnlock = serde_json::from_str(section).unwrap();
        assert_eq!(unlock.env_names(), ["S"]);
        for (from, to, expected) in [
            ("https", "http", "allow_http"),
            ("node.store", "a/b", "a key's name"),
            ("node.store", "", "a key's name"),
            ("node.store", "a.", "a key's name"),
            ("\"key\":", "\"other\":", "unknown field `other`"),
            ("\"key\":", "\"if_missing\":", "unknown field `if_missing`"),
        ] {
            let error = serde_json::from_str::<AnyUnlock>(&section.replace(from, to));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
