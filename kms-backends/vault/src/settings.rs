//! The settings section of this backend.

use std::path::PathBuf;
use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, IfMissing, KeyCapability, OpenContext,
    Operation, SourceUse, async_trait,
};
use kms_backend_remote::RemoteSettings;
use kms_keys::{KeyType, SigningScheme};
use serde::Deserialize;

use crate::backend::Vault;
#[cfg(feature = "envelope")]
use crate::name::KeyName;
use crate::{Address, AuthSettings, MountPath};

/// Settings of this backend: one Transit mount of one server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
#[non_exhaustive]
pub struct VaultSettings {
    /// Where the server is.
    pub address: Address,
    /// How to log in.
    pub auth: AuthSettings,
    /// Where Transit is mounted; default `transit`.
    pub mount: MountPath,
    /// The namespace, for servers that have some.
    pub namespace: Option<MountPath>,
    /// Whom to believe that it is the server.
    pub tls: TlsSettings,
    /// Whether an `http` address is meant, also of the loopback: tokens and messages can be read on the way.
    pub allow_http: bool,
    /// What to do about a missing key whose own settings don't say.
    pub if_missing: IfMissing,
    /// Whether keys may be destroyed: disabled ones, or any at a server that can't disable keys.
    pub allow_deletion: bool,
    /// How the server is asked.
    pub remote: RemoteSettings,
}

/// Whom to believe that it is the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// A PEM file with the certificates of the authorities to believe, and no others. Left out: those of
    /// this machine. A relative path is taken from the folder of the settings.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

#[cfg(feature = "envelope")]
impl VaultSettings {
    /// A section that names one key of the mount, and the name.
    pub(crate) fn for_one_key(fields: OneKey) -> Result<(Self, KeyName), &'static str> {
        let OneKey { address, auth, mount, key, namespace, tls, allow_http, remote } = fields;
        let (if_missing, allow_deletion) = (IfMissing::Fail, false);
        let fields = Fields {
            address,
            auth,
            mount,
            namespace,
            tls,
            allow_http,
            if_missing,
            allow_deletion,
            remote,
        };
        Ok((fields.try_into()?, key))
    }
}

/// What is said of a server and one of its keys.
#[cfg(feature = "envelope")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneKey {
    address: Address,
    auth: AuthSettings,
    #[serde(default = "transit")]
    mount: MountPath,
    key: KeyName,
    #[serde(default)]
    namespace: Option<MountPath>,
    #[serde(default)]
    tls: TlsSettings,
    #[serde(default)]
    allow_http: bool,
    #[serde(default)]
    remote: RemoteSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    address: Address,
    auth: AuthSettings,
    #[serde(default = "transit")]
    mount: MountPath,
    #[serde(default)]
    namespace: Option<MountPath>,
    #[serde(default)]
    tls: TlsSettings,
    #[serde(default)]
    allow_http: bool,
    #[serde(default)]
    if_missing: IfMissing,
    #[serde(default)]
    allow_deletion: bool,
    #[serde(default)]
    remote: RemoteSettings,
}

fn transit() -> MountPath {
    MountPath::known("transit")
}

impl TryFrom<Fields> for VaultSettings {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields { address, auth, mount, namespace, tls, allow_http, .. } = fields;
        if address.is_plain() && !allow_http {
            return Err(
                "`address` begins with http, so that tokens could be read on the way: expected \
                        https, or `allow_http: true` if that is meant",
            );
        }
        if address.is_plain() && tls.ca.is_some() {
            return Err("`tls` goes with an https `address` alone");
        }
        let Fields { if_missing, allow_deletion, remote, .. } = fields;
        Ok(Self {
            address,
            auth,
            mount,
            namespace,
            tls,
            allow_http,
            if_missing,
            allow_deletion,
            remote,
        })
    }
}

#[async_trait]
impl BackendSettings for VaultSettings {
    fn capabilities(&self) -> Capabilities {
        let ed25519 = KeyCapability::new(KeyType::Ed25519, [SigningScheme::Ed25519]);
        let always =
            [Operation::Generate, Operation::Rotate, Operation::Disable, Operation::Enable];
        let deletion = self.allow_deletion.then_some(Operation::Destroy);
        Capabilities::new([ed25519], SourceUse::Refused, always.into_iter().chain(deletion))
    }

    fn env_names(&self) -> Vec<String> {
        self.auth.env_name().map(str::to_owned).into_iter().collect()
    }

    fn if_missing(&self) -> IfMissing {
        self.if_missing
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        Ok(Arc::new(Vault::open(self, context).await?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(fields: Value) -> Result<VaultSettings, String> {
        let mut section =
            json!({"address": "https://vault.example:8200", "auth": {"token": {"env": "TOKEN"}}});
        for (name, value) in fields.as_object().unwrap() {
            section[name] = value.clone();
        }
        serde_json::from_value(section).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings = settings(json!({})).unwrap();
        assert_eq!(settings.mount.to_string(), "transit");
        assert_eq!(settings.remote, RemoteSettings::default());
        assert!(!settings.allow_http && !settings.allow_deletion && settings.tls.ca.is_none());
        assert_eq!(settings.env_names(), ["TOKEN"]);
    }

    #[test]
    fn every_way_to_log_in_is_read() {
        let approle = json!({"approle": {"role_id": "r", "secret_id": {"env": "SECRET_ID"}}});
        let approle = settings(json!({"auth": approle})).unwrap();
        assert_eq!(approle.env_names(), ["SECRET_ID"]);
        let pod = settings(json!({"auth": {"kubernetes": {"role": "node"}}})).unwrap();
        let AuthSettings::Kubernetes(pod) = pod.auth else { panic!("{pod:?}") };
        assert_eq!(pod.mount.to_string(), "kubernetes");
        assert!(pod.token_file.ends_with("serviceaccount/token"));
    }

    #[test]
    fn only_ed25519_and_only_deletion_that_is_allowed() {
        let can = settings(json!({})).unwrap().capabilities();
        assert!(can.schemes(KeyType::Secp256k1).is_empty());
        assert!(can.schemes(KeyType::Bls12381).is_empty());
        assert_eq!(can.schemes(KeyType::Ed25519), [SigningScheme::Ed25519]);
        assert!(!can.operations.contains(&Operation::Destroy));
        let can = settings(json!({"allow_deletion": true})).unwrap().capabilities();
        assert!(can.operations.contains(&Operation::Destroy));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (fields, expected) in [
            (json!({"address": "http://127.0.0.1:8200"}), "allow_http"),
            (
                json!({"address": "http://a", "allow_http": true, "tls": {"ca": "ca.pem"}}),
                "`tls` goes with an https",
            ),
            (json!({"address": "vault"}), "https://HOST"),
            (json!({"mount": "a/../b"}), "a mount"),
            (json!({"token": "s.hunter2hunter2"}), "unknown field `token`"),
            (json!({"auth": {"token": "s.hunter2hunter2"}}), "not shown"),
            (json!({"auth": {"token": {"prompt": true}}}), "`prompt` can't be"),
            (json!({"auth": {"approle": {"role_id": "r"}}}), "missing field `secret_id`"),
            (json!({"auth": {}}), ""),
            (json!({"remote": {"timeout": "0s"}}), "above zero"),
            (json!({"tls": {"insecure": true}}), "unknown field `insecure`"),
        ] {
            let error = settings(fields.clone()).unwrap_err();
            assert!(error.contains(expected), "{fields}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        settings(json!({"address": "http://127.0.0.1:8200", "allow_http": true})).unwrap();
    }
}
