//! A key of AWS KMS that opens a keystore.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use kms_backend::{BackendError, Failure, IfMissing, OpenContext, async_trait};
use kms_backend_keystore::{External, ExternalUnlocker, UnlockSecret, UnlockSettings};
use kms_backend_remote::{Call, Remote, RemoteSettings, from_base64, to_base64, wiped};
use kms_secrets::{SecretArray, SecretBytes, on_wiped_stack};
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};

use crate::sts::is_private;
use crate::wire::Wire;
use crate::{AwsSettings, CredentialSource};

/// The name of the only entry of the encryption context.
const CONTEXT: &str = "kms-keystore";

/// The most letters of an ARN or alias that AWS takes.
const MAX_NAME: usize = 2048;

/// Settings that have a key of AWS KMS open a store: `region`, `endpoint_override`, `credentials` and `remote`
/// as of the backend, and the `key`: a symmetric encryption key, by id, ARN or alias (`alias/…`).
///
/// Who opens a store needs the right to `kms:Decrypt` with it; who makes one, or adds the unlocker, to
/// `kms:Encrypt` as well. The encryption context, by which the right can be narrowed to one store, has one
/// entry: `kms-keystore`, the SHA-256 hash in hex of what the unlocker is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct AwsUnlock {
    settings: AwsSettings,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    endpoint_override: Option<String>,
    #[serde(default)]
    credentials: Option<CredentialSource>,
    #[serde(deserialize_with = "name")]
    key: String,
    #[serde(default)]
    remote: RemoteSettings,
}

impl TryFrom<Fields> for AwsUnlock {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields { region, endpoint_override, credentials, key, remote } = fields;
        if endpoint_override.as_ref().is_some_and(|endpoint| !is_private(endpoint)) {
            return Err(
                "`endpoint_override` is where the store's key is sent: expected https://…, or \
                        http://… on the loopback",
            );
        }
        let settings = AwsSettings {
            region,
            endpoint_override,
            credentials,
            remote,
            alias_prefix: String::new(),
            keys: BTreeMap::new(),
            description: None,
            tags: BTreeMap::new(),
            if_missing: IfMissing::Fail,
            audit_logging: None,
        };
        Ok(Self { settings, key })
    }
}

#[async_trait]
impl UnlockSettings for AwsUnlock {
    fn env_names(&self) -> Vec<String> {
        self.settings.secret_variables()
    }

    /// Asks nobody yet.
    async fn secret(&self, context: &OpenContext) -> Result<UnlockSecret, BackendError> {
        let (settings, context) = (self.settings.clone(), context.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let remote = Remote::open(&context.name, &settings.remote, &context.base_dir)?;
            let remote = Arc::new(remote);
            Ok((Wire::new(&settings, &context, &remote)?, remote))
        });
        let (wire, remote) = opening.await.unwrap_or_else(|cause| {
            Err(BackendError::Unavailable(Failure::because("opening was cut off", cause)))
        })?;
        let (wire, key) = (wire.located().await?, self.key.clone());
        Ok(UnlockSecret::External(External::new(Arc::new(AwsKey { remote, wire, key }))?))
    }
}

/// The key, and the way to it.
struct AwsKey {
    remote: Arc<Remote>,
    wire: Wire,
    key: String,
}

#[derive(Deserialize)]
struct Sealed {
    #[serde(rename = "CiphertextBlob")]
    ciphertext: String,
}

#[derive(Deserialize)]
struct Opened<'a> {
    /// Borrowed: a copy would not be wiped.
    #[serde(rename = "Plaintext", borrow)]
    plaintext: &'a str,
}

#[async_trait]
impl ExternalUnlocker for AwsKey {
    fn provider(&self) -> &'static str {
        "aws"
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("key".to_owned(), self.key.clone())])
    }

    async fn seal(&self, key: &SecretArray<32>, bound: &[u8]) -> Result<Vec<u8>, BackendError> {
        let text = to_base64(key.expose())?;
        let rest = self.rest(bound);
        let body = [b"{\"Plaintext\":\"", text.expose(), b"\",", rest.as_bytes()];
        let body = wiped(SecretBytes::concat(&body));
        let what = format!("key {} in AWS does not encrypt (kms:Encrypt)", self.key);
        let call = self.call("encrypt");
        let done = self.remote.retried(&call, || async {
            let answer = self.wire.ask(&what, "Encrypt", &body, text.expose()).await?;
            let Sealed { ciphertext } = read(&what, &answer)?;
            Base64::decode_vec(&ciphertext).map_err(|_| {
                BackendError::Corrupt(Failure::new(format!("{what}: what AWS gave is no Base64")))
            })
        });
        done.await
    }

    async fn open(&self, sealed: &[u8], bound: &[u8]) -> Result<SecretBytes, BackendError> {
        let sealed = Base64::encode_string(sealed);
        let body = format!("{{\"CiphertextBlob\":\"{sealed}\",{}", self.rest(bound));
        let body = Bytes::from(body);
        let what = format!("key {} in AWS does not decrypt (kms:Decrypt)", self.key);
        let call = self.call("decrypt");
        let done = self.remote.retried(&call, || async {
            let answer = self.wire.ask(&what, "Decrypt", &body, b"").await?;
            let Opened { plaintext } = on_wiped_stack(|| read(&what, &answer))?;
            from_base64(plaintext, &what)
        });
        done.await
    }

    async fn close(&self) {
        self.remote.close().await;
    }
}

impl AwsKey {
    fn call<'a>(&'a self, operation: &'static str) -> Call<'a> {
        Call { operation, key: Some(&self.key), algorithm: None }
    }

    /// The end of a request: the key, and what it is bound to, which AWS writes down wherever it does so.
    fn rest(&self, bound: &[u8]) -> String {
        let bound: String =
            Sha256::digest(bound).iter().map(|byte| format!("{byte:02x}")).collect();
        let key = &self.key;
        format!("\"KeyId\":\"{key}\",\"EncryptionContext\":{{\"{CONTEXT}\":\"{bound}\"}}}}")
    }
}

impl fmt::Debug for AwsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Reads a good answer.
fn read<'a, T: Deserialize<'a>>(what: &str, answer: &'a SecretBytes) -> Result<T, BackendError> {
    serde_json::from_slice(answer.expose()).map_err(|cause| {
        // The place alone: an error's text could quote the answer.
        BackendError::Unavailable(Failure::new(format!(
            "{what}: the answer of {} bytes makes no sense at line {}, column {}",
            answer.len(),
            cause.line(),
            cause.column()
        )))
    })
}

/// A key's id, ARN or alias, as it can stand in a request.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let fits = |letter: u8| letter.is_ascii_alphanumeric() || b":/_-".contains(&letter);
    if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text);
    }
    // Not repeated: it may be a secret in the wrong place.
    Err(de::Error::custom("expected a key's id, its ARN or `alias/…`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlock(json: &str) -> Result<AwsUnlock, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_section_is_read_and_its_mistakes_are_refused() {
        let found = unlock(r#"{"key": "alias/node"}"#).unwrap();
        assert_eq!(found.env_names()[0], "AWS_ACCESS_KEY_ID");
        let arn = "arn:aws:kms:eu-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let found =
            unlock(&format!(r#"{{"key": "{arn}", "credentials": {{"profile": {{}}}}}}"#)).unwrap();
        assert_eq!((found.key.as_str(), found.env_names().len()), (arn, 0));
        for (json, expected) in [
            ("{}", "missing field `key`"),
            (r#"{"key": ""}"#, "a key's id"),
            (r#"{"key": "a\"b"}"#, "a key's id"),
            (r#"{"key": "alias/node", "keys": {}}"#, "unknown field `keys`"),
            (r#"{"key": "alias/node", "if_missing": "generate"}"#, "unknown field `if_missing`"),
            (r#"{"key": "alias/node", "endpoint_override": "http://kms.example"}"#, "loopback"),
            (r#"{"key": "alias/node", "endpoint_override": "kms.example"}"#, "https://"),
        ] {
            let error = unlock(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
        unlock(r#"{"key": "alias/node", "endpoint_override": "http://127.0.0.1:1"}"#).unwrap();
    }

    #[test]
    fn a_name_of_any_length_is_not_taken() {
        assert!(unlock(&format!(r#"{{"key": "{}"}}"#, "a".repeat(MAX_NAME))).is_ok());
        assert!(unlock(&format!(r#"{{"key": "{}"}}"#, "a".repeat(MAX_NAME + 1))).is_err());
    }
}
