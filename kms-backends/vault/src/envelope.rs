//! A key of Transit that opens a keystore.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use hyper::Method;
use hyper::body::Bytes;
use kms_backend::{BackendError, OpenContext, async_trait};
use kms_backend_keystore::{External, ExternalUnlocker, UnlockSecret, UnlockSettings};
use kms_backend_remote::{Call, from_base64, to_base64, wiped};
use kms_secrets::{SecretArray, SecretBytes};
use serde::Deserialize;

use crate::VaultSettings;
use crate::answer::{read, refusal};
use crate::http::Reply;
use crate::name::{KeyName, MountPath};
use crate::session::Session;
use crate::settings::OneKey;

/// Settings that have a key of Transit open a store: those of one mount (`address`, `auth`, `mount`,
/// `namespace`, `tls`, `allow_http`, `remote`) with the `key`'s name, of a type that takes associated data:
/// `aes256-gcm96`, `aes128-gcm96` or `chacha20-poly1305`.
///
/// Who opens a store may `update` `MOUNT/decrypt/KEY`; who makes one, or adds the unlocker,
/// `MOUNT/encrypt/KEY` as well. Where `create` is allowed there, the server makes a key that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneKey")]
pub struct VaultUnlock {
    settings: VaultSettings,
    key: KeyName,
}

impl VaultUnlock {
    /// The mount that the key is in.
    #[must_use]
    pub fn mount(&self) -> &MountPath {
        &self.settings.mount
    }

    /// The key's name.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_str()
    }
}

impl TryFrom<OneKey> for VaultUnlock {
    type Error = &'static str;

    fn try_from(fields: OneKey) -> Result<Self, Self::Error> {
        let (settings, key) = VaultSettings::for_one_key(fields)?;
        Ok(Self { settings, key })
    }
}

#[async_trait]
impl UnlockSettings for VaultUnlock {
    fn env_names(&self) -> Vec<String> {
        self.settings.auth.env_name().map(str::to_owned).into_iter().collect()
    }

    /// Logs in.
    async fn secret(&self, context: &OpenContext) -> Result<UnlockSecret, BackendError> {
        let session = Session::of(&self.settings, context).await?;
        let (mount, key) = (self.settings.mount.to_string(), self.key.clone());
        Ok(UnlockSecret::External(External::new(Arc::new(TransitKey { session, mount, key }))?))
    }
}

/// The key, and a login that may use it.
struct TransitKey {
    session: Arc<Session>,
    mount: String,
    key: KeyName,
}

#[derive(Deserialize)]
struct Sealed {
    data: Ciphertext,
}

#[derive(Deserialize)]
struct Ciphertext {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Opened<'a> {
    #[serde(borrow)]
    data: Plaintext<'a>,
}

#[derive(Deserialize)]
struct Plaintext<'a> {
    /// Borrowed: a copy would not be wiped.
    plaintext: &'a str,
}

#[async_trait]
impl ExternalUnlocker for TransitKey {
    fn provider(&self) -> &'static str {
        "vault"
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        let parameters = [("mount", self.mount.as_str()), ("key", self.key.as_str())];
        parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    async fn seal(&self, key: &SecretArray<32>, bound: &[u8]) -> Result<Vec<u8>, BackendError> {
        let text = to_base64(key.expose())?;
        let after = format!("\",\"associated_data\":\"{}\"}}", Base64::encode_string(bound));
        let body = [b"{\"plaintext\":\"", text.expose(), after.as_bytes()];
        let body = wiped(SecretBytes::concat(&body));
        let call = self.call("encrypt");
        let done = self.session.remote.retried(&call, || async {
            let reply = self.ask("encrypt", body.clone()).await?;
            if !reply.status.is_success() {
                return Err(self.refused("does not encrypt", &reply.without(text.expose())));
            }
            let Sealed { data } = read(&self.what("does not encrypt"), &reply)?;
            Ok(data.ciphertext.into_bytes())
        });
        done.await
    }

    async fn open(&self, sealed: &[u8], bound: &[u8]) -> Result<SecretBytes, BackendError> {
        let ciphertext = String::from_utf8_lossy(sealed);
        let body = serde_json::json!({
            "ciphertext": ciphertext,
            "associated_data": Base64::encode_string(bound),
        });
        let body = Bytes::from(body.to_string());
        let call = self.call("decrypt");
        let done = self.session.remote.retried(&call, || async {
            let reply = self.ask("decrypt", body.clone()).await?;
            if !reply.status.is_success() {
                return Err(self.refused("does not decrypt", &reply));
            }
            let Opened { data } = read(&self.what("does not decrypt"), &reply)?;
            from_base64(data.plaintext, &self.what("does not decrypt"))
        });
        done.await
    }

    async fn close(&self) {
        self.session.close().await;
    }
}

impl TransitKey {
    async fn ask(&self, operation: &str, body: Bytes) -> Result<Reply, BackendError> {
        let path = format!("{}/{operation}/{}", self.mount, self.key.as_str());
        self.session.request(Method::POST, &path, body).await
    }

    fn call<'a>(&'a self, operation: &'static str) -> Call<'a> {
        Call { operation, key: Some(self.key.as_str()), algorithm: None }
    }

    fn what(&self, failed: &str) -> String {
        format!("key {} of mount {} {failed}", self.key.as_str(), self.mount)
    }

    /// A ciphertext that was changed, is another key's or was bound to something else is refused as a
    /// mistake of whoever asked.
    fn refused(&self, failed: &str, reply: &Reply) -> BackendError {
        match refusal(&self.what(failed), reply) {
            BackendError::Misconfigured(failure) if is_unauthentic(reply) => {
                BackendError::WrongSecret(failure)
            }
            other => other,
        }
    }
}

impl fmt::Debug for TransitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitKey")
            .field("mount", &self.mount)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

fn is_unauthentic(reply: &Reply) -> bool {
    let said = |words: &[u8]| reply.body.expose().windows(words.len()).any(|part| part == words);
    said(b"message authentication failed") || said(b"unable to decrypt")
}
