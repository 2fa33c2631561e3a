//! An AES key in a token that opens a keystore.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kms_backend::{BackendError, IfMissing, OpenContext, async_trait};
use kms_backend_keystore::{External, ExternalUnlocker, UnlockSecret, UnlockSettings};
use kms_backend_remote::{Call, RemoteSettings};
use kms_secrets::{PassphraseSource, SecretArray, SecretBytes};
use serde::{Deserialize, Deserializer, de};

use crate::connection::Connection;
use crate::shared::Shared;
use crate::wrapping::NewAesKey;
use crate::{Pkcs11Settings, TokenName, wrapping};

/// The most letters of a key's label.
const MAX_LABEL: usize = 64;

/// Settings that have an AES key in a token open a store: `module`, `token`, `pin` and `remote` as of the
/// backend, and the `key`'s label. The key encrypts by AES-GCM (`CKM_AES_GCM`), is sensitive and not
/// extractable. A key wrap would not be bound to the store, and needs an object in the token for the store's
/// key.
///
/// With `if_missing: generate`, a key of 256 bits is made in the token when the unlocker is, unless it is
/// there. A store is never opened by a key that has just been made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Fields")]
pub struct Pkcs11Unlock {
    settings: Pkcs11Settings,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    module: PathBuf,
    token: TokenName,
    pin: PassphraseSource,
    #[serde(deserialize_with = "label")]
    key: String,
    #[serde(default)]
    if_missing: IfMissing,
    #[serde(default)]
    remote: RemoteSettings,
}

impl Pkcs11Unlock {
    /// The token that the key is in.
    #[must_use]
    pub fn token(&self) -> &TokenName {
        &self.settings.token
    }

    /// The key's label.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl From<Fields> for Pkcs11Unlock {
    fn from(fields: Fields) -> Self {
        let Fields { module, token, pin, key, if_missing, remote } = fields;
        // One request after the other.
        let (sessions, keys) = (1, BTreeMap::new());
        let settings = Pkcs11Settings { module, token, pin, sessions, keys, if_missing, remote };
        Self { settings, key }
    }
}

#[async_trait]
impl UnlockSettings for Pkcs11Unlock {
    fn env_names(&self) -> Vec<String> {
        self.settings.pin.env_name().map(str::to_owned).into_iter().collect()
    }

    /// Reads the PIN. The module is not touched yet.
    async fn secret(&self, context: &OpenContext) -> Result<UnlockSecret, BackendError> {
        let shared = Arc::new(Shared::open(&self.settings, context).await?);
        let generate = self.settings.if_missing == IfMissing::Generate;
        let (key, token) = (self.key.clone(), self.settings.token.to_string());
        let unlocker = TokenKey { shared, key, token, generate };
        Ok(UnlockSecret::External(External::new(Arc::new(unlocker))?))
    }
}

/// The key, and the threads that may use it.
struct TokenKey {
    shared: Arc<Shared>,
    /// Its label.
    key: String,
    /// Which token it is in, in words.
    token: String,
    /// Whether it is made when it is missing.
    generate: bool,
}

#[async_trait]
impl ExternalUnlocker for TokenKey {
    fn provider(&self) -> &'static str {
        "pkcs11"
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("key".to_owned(), self.key.clone())])
    }

    async fn seal(&self, key: &SecretArray<32>, bound: &[u8]) -> Result<Vec<u8>, BackendError> {
        if self.generate {
            self.make().await?;
        }
        // Shared with the module's thread; one that hangs keeps it.
        let secret = Arc::new(SecretBytes::from_slice(key.expose()));
        let (label, what) = (self.key.clone(), self.what("does not encrypt"));
        let bound = bound.to_vec();
        let seal = move |connection: &mut Connection| {
            wrapping::encrypt(connection, &label, &what, secret.expose(), &bound)
        };
        self.ask("encrypt", seal).await
    }

    async fn open(&self, sealed: &[u8], bound: &[u8]) -> Result<SecretBytes, BackendError> {
        let (label, what) = (self.key.clone(), self.what("does not decrypt"));
        let (sealed, bound) = (sealed.to_vec(), bound.to_vec());
        let open = move |connection: &mut Connection| {
            wrapping::decrypt(connection, &label, &what, &sealed, &bound)
        };
        self.ask("decrypt", open).await
    }

    async fn close(&self) {
        self.shared.close().await;
    }
}

impl TokenKey {
    /// Makes the key, unless there is one.
    async fn make(&self) -> Result<(), BackendError> {
        let new = NewAesKey { label: self.key.clone(), what: self.what("can't be made") };
        let look = || async {
            let new = new.clone();
            let look = move |connection: &mut Connection| wrapping::is_there(connection, &new);
            Ok(self.ask("look", look).await?.then_some(()))
        };
        self.shared.make(&self.call("generate"), &new, look).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Fn(&mut Connection) -> Result<T, BackendError> + Clone + Send + 'static,
    ) -> Result<T, BackendError> {
        let call = self.call(operation);
        self.shared.remote.retried(&call, || self.shared.workers.ask(work.clone())).await
    }

    fn call(&self, operation: &'static str) -> Call<'_> {
        Call { operation, key: Some(&self.key), algorithm: Some("aes-gcm") }
    }

    fn what(&self, failed: &str) -> String {
        format!("AES key {} in {} {failed}", self.key, self.token)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("key", &self.key).finish_non_exhaustive()
    }
}

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if (1..=MAX_LABEL).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(de::Error::custom("expected a key's label: 1 to 64 letters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlock(more: &str) -> Result<Pkcs11Unlock, String> {
        let section = format!(
            r#"{{"module": "m.so", "token": {{"label": "t"}}, "pin": {{"env": "P"}}{more}}}"#
        );
        serde_json::from_str(&section).map_err(|error| error.to_string())
    }

    #[test]
    fn a_section_is_read_and_its_mistakes_are_refused() {
        let found = unlock(r#", "key": "store key""#).unwrap();
        assert_eq!((found.key.as_str(), found.env_names()), ("store key", vec!["P".to_owned()]));
        assert_eq!(found.settings.if_missing, IfMissing::Fail);
        let found = unlock(r#", "key": "k", "if_missing": "generate""#).unwrap();
        assert_eq!(found.settings.if_missing, IfMissing::Generate);
        for (more, expected) in [
            ("", "missing field `key`"),
            (r#", "key": """#, "a key's label"),
            (r#", "key": "a\nb""#, "a key's label"),
            (r#", "key": "k", "sessions": 4"#, "unknown field `sessions`"),
        ] {
            let error = unlock(more).unwrap_err();
            assert!(error.contains(expected), "{more}: {error}");
        }
        assert!(unlock(&format!(r#", "key": "{}""#, "a".repeat(MAX_LABEL + 1))).is_err());
    }
}
