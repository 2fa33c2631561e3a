//! As much of a server as logging in and signing need, with what a test wants to go wrong.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64ct::{Base64, Encoding};
use kms_backend::{
    Backend, BackendError, BackendSettings, KeySpec, OpenContext, RemoteSigner, Signer,
};
use kms_backend_vault::VaultSettings;
use kms_keys::{KeyId, KeyType, SecretKey, Signature, SigningScheme};
use kms_peers::{Answer, Proxy, Request};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const SECRET_ID: &str = "secret-id-0123456789";

pub(crate) struct FakeVault {
    server: Proxy,
    folder: TempDir,
    state: Arc<Mutex<State>>,
    public_key: kms_keys::PublicKey,
}

pub(crate) struct State {
    key: SecretKey,
    announced: SecretKey,
    tokens_made: usize,
    pub(crate) good_tokens: BTreeSet<String>,
    pub(crate) may_log_in: bool,
    pub(crate) may_sign: bool,
    /// Whether tokens may look themselves up.
    pub(crate) may_look_up: bool,
    /// Whether the key is disabled, at a server that can do that: OpenBao. Others don't speak of it.
    pub(crate) disabled: Option<bool>,
    deletion_allowed: bool,
    gone: bool,
    pub(crate) ttl: u64,
    pub(crate) renewed_ttl: u64,
    pub(crate) renewals_fail: bool,
    pub(crate) bad_message: Option<Vec<u8>>,
}

impl State {
    /// What signs is another key from now on, and the server doesn't say so.
    pub(crate) fn swap_key(&mut self) {
        self.key = SecretKey::generate(KeyType::Ed25519).unwrap();
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let token = request.field("x-vault-token").unwrap_or_default();
        let known = self.good_tokens.contains(token);
        let path = request.path.trim_start_matches("/v1/").split('?').next().unwrap();
        match path {
            "sys/health" => ok(json!({})),
            "auth/approle/login" if self.may_log_in && body["secret_id"] == SECRET_ID => {
                self.tokens_made += 1;
                let token = format!("token-{}", self.tokens_made);
                self.good_tokens.insert(token.clone());
                ok(json!({"auth": {
                    "client_token": token, "lease_duration": self.ttl, "renewable": true,
                }}))
            }
            "auth/approle/login" => error(400, "invalid role or secret ID"),
            _ if !known => error(403, "permission denied"),
            "auth/token/renew-self" if self.renewals_fail => error(500, "not now"),
            "auth/token/renew-self" => ok(json!({"auth": {
                "client_token": token, "lease_duration": self.renewed_ttl, "renewable": true,
            }})),
            "auth/token/revoke-self" => {
                self.good_tokens.remove(token);
                Answer::new(204, "")
            }
            "auth/token/lookup-self" if !self.may_look_up => error(403, "permission denied"),
            "auth/token/lookup-self" => ok(json!({"data": {"ttl": self.ttl, "renewable": false}})),
            "transit/keys/node_2Fidentity/config" => {
                self.deletion_allowed = body["deletion_allowed"] == true;
                self.key_data()
            }
            "transit/keys/node_2Fidentity" if self.gone => {
                Answer::new(404, json!({"errors": []}).to_string())
            }
            "transit/keys/node_2Fidentity" if request.method == "DELETE" => {
                if !self.deletion_allowed {
                    return error(400, "deletion is not allowed for this key");
                }
                self.gone = true;
                Answer::new(204, "")
            }
            "transit/keys/node_2Fidentity" => self.key_data(),
            "transit/keys/node_2Fidentity/soft-delete" => {
                error(404, "1 error occurred:\n\t* unsupported path\n\n")
            }
            "transit/sign/node_2Fidentity" if !self.may_sign => error(403, "permission denied"),
            "transit/sign/node_2Fidentity" => match body["batch_input"].as_array() {
                Some(batch) => {
                    let results: Vec<_> =
                        batch.iter().map(|item| self.signed(&item["input"])).collect();
                    ok(json!({"data": {"batch_results": results}}))
                }
                None => ok(json!({"data": self.signed(&body["input"])})),
            },
            other => error(404, &format!("no handler for route {other:?}")),
        }
    }

    fn key_data(&self) -> Answer {
        let public_key = Base64::encode_string(&self.announced.public_key().to_bytes());
        let mut data = json!({"type": "ed25519", "latest_version": 1, "keys": {"1": {
            "public_key": public_key, "creation_time": "2026-11-24T23:42:09Z",
        }}});
        if let Some(disabled) = self.disabled {
            data["soft_deleted"] = disabled.into();
        }
        ok(json!({ "data": data }))
    }

    fn signed(&self, input: &Value) -> Value {
        let message = Base64::decode_vec(input.as_str().unwrap()).unwrap();
        if self.bad_message.as_ref() == Some(&message) {
            return json!({"error": "no"});
        }
        let signature = self.key.sign(SigningScheme::Ed25519, &message).unwrap().to_bytes();
        json!({"signature": format!("vault:v1:{}", Base64::encode_string(&signature))})
    }
}

fn ok(body: Value) -> Answer {
    Answer::new(200, body.to_string())
}

fn error(status: u16, text: &str) -> Answer {
    Answer::new(status, json!({"errors": [text]}).to_string())
}

impl FakeVault {
    /// Tokens live for `ttl` seconds.
    pub(crate) async fn start(ttl: u64) -> Self {
        let key = SecretKey::generate(KeyType::Ed25519).unwrap();
        let again = SecretKey::from_bytes(KeyType::Ed25519, key.expose_secret().expose()).unwrap();
        let public_key = key.public_key();
        let state = State {
            key,
            announced: again,
            tokens_made: 0,
            good_tokens: BTreeSet::new(),
            may_log_in: true,
            may_sign: true,
            may_look_up: true,
            disabled: None,
            deletion_allowed: false,
            gone: false,
            ttl,
            renewed_ttl: ttl,
            renewals_fail: false,
            bad_message: None,
        };
        let state = Arc::new(Mutex::new(state));
        let answering = Arc::clone(&state);
        let server =
            Proxy::answering(move |request| answering.lock().unwrap().answer(request)).await;
        let folder = TempDir::new().unwrap();
        let vault = Self { server, folder, state, public_key };
        vault.secret_file("secret-id", SECRET_ID);
        vault
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap())
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.server.count(part)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret_file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        kms_peers::write_secret(&path, content);
        path
    }

    /// A file with this token, which is good.
    pub(crate) fn token_file(&self, token: &str) -> PathBuf {
        self.with(|state| state.good_tokens.insert(token.into()));
        self.secret_file("token", &format!("{token}\n"))
    }

    pub(crate) async fn open(&self, fields: Value) -> Result<Arc<dyn Backend>, BackendError> {
        let mut section = json!({
            "address": self.server.url(),
            "allow_http": true,
            "auth": {"approle": {"role_id": "node", "secret_id": {"file": "secret-id"}}},
        });
        for (name, value) in fields.as_object().unwrap() {
            section[name] = value.clone();
        }
        let settings: VaultSettings = serde_json::from_value(section).unwrap();
        settings.open(&OpenContext::new("vault", self.folder.path())).await
    }

    pub(crate) async fn signer(&self, backend: &dyn Backend) -> Arc<dyn RemoteSigner> {
        let spec = KeySpec::new(KeyId::new("node/identity").unwrap(), KeyType::Ed25519);
        let Signer::Remote(signer) = backend.register(&spec).await.unwrap().signer else {
            panic!("a local signer");
        };
        signer
    }

    pub(crate) async fn sign(&self, backend: &dyn Backend) -> Result<(), BackendError> {
        self.sign_by(&self.signer(backend).await, b"message").await
    }

    pub(crate) async fn sign_by(
        &self,
        signer: &Arc<dyn RemoteSigner>,
        message: &[u8],
    ) -> Result<(), BackendError> {
        let signature = signer.sign(SigningScheme::Ed25519, message).await?;
        self.check(message, &signature);
        Ok(())
    }

    pub(crate) fn check(&self, message: &[u8], signature: &Signature) {
        self.public_key.verify(SigningScheme::Ed25519, message, signature).unwrap();
    }
}
