//! What has one version of a key sign at the server.

use std::sync::Arc;

use base64ct::{Base64, Encoding};
use futures::{StreamExt, stream};
use hyper::Method;
use hyper::body::Bytes;
use kms_backend::{BackendError, Failure, RemoteSigner, async_trait};
use kms_backend_remote::{Expected, aside};
use kms_keys::{PublicKey, Signature, SigningScheme};
use serde::Deserialize;

use crate::answer::{read, refusal};
use crate::transit::{Transit, call};

/// How many messages are taken at once.
const BATCH: usize = 256;

/// The most messages of one request.
const REQUEST: usize = 128;

/// How many requests of one batch are under way, so that one is worked on there while another is checked
/// here.
const AT_ONCE: usize = 4;

/// The most bytes of the messages of one request, unless it is one message.
const BATCH_BYTES: usize = 1024 * 1024;

pub(crate) struct VaultSigner {
    transit: Arc<Transit>,
    expected: Expected,
    version: u32,
    path: String,
    /// What is said to go wrong.
    what: String,
}

#[derive(Deserialize)]
struct SignAnswer {
    data: Signed,
}

#[derive(Deserialize)]
struct Signed {
    signature: String,
}

#[derive(Deserialize)]
struct BatchAnswer {
    data: BatchData,
}

#[derive(Deserialize)]
struct BatchData {
    batch_results: Vec<BatchResult>,
}

#[derive(Deserialize)]
struct BatchResult {
    #[serde(default)]
    signature: Option<String>,
}

impl VaultSigner {
    pub(crate) fn new(transit: Arc<Transit>, expected: Expected, version: u32) -> Self {
        let path = transit.path("sign", &expected.id, "");
        let what = transit.what("can't sign", &expected.id);
        Self { transit, expected, version, path, what }
    }

    fn check(&self, scheme: SigningScheme) -> Result<(), BackendError> {
        if scheme == SigningScheme::Ed25519 {
            return Ok(());
        }
        let what = self.transit.what(&format!("can't sign under {scheme}"), &self.expected.id);
        Err(BackendError::Misconfigured(Failure::new(what)))
    }

    async fn ask<T>(
        &self,
        body: String,
        read_answer: impl Fn(&str, &crate::http::Reply) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let (id, session) = (&self.expected.id, &self.transit.session);
        let body = Bytes::from(body);
        let call = call("sign", id);
        let asked = session.remote.retried(&call, || {
            let (body, what, read_answer) = (body.clone(), &self.what, &read_answer);
            async move {
                read_answer(what, &session.request(Method::POST, &self.path, body).await?)
            }
        });
        asked.await
    }

    /// Signs as many as fit into one request.
    async fn sign_some(&self, messages: &[Vec<u8>]) -> Vec<Result<Signature, BackendError>> {
        let body = aside(messages.iter().map(Vec::len).sum(), || {
            let inputs = messages
                .iter()
                .map(|message| format!(r#"{{"input":"{}"}}"#, Base64::encode_string(message)));
            let inputs = inputs.collect::<Vec<_>>().join(",");
            format!(r#"{{"key_version":{},"batch_input":[{inputs}]}}"#, self.version)
        });
        let answer = self.ask(body, |what, reply| {
            // HashiCorp's server answers 400 if there is a bad one among good ones.
            if !reply.status.is_success() && reply.status.as_u16() != 400 {
                return Err(refusal(what, reply));
            }
            match read(what, reply) {
                Ok(BatchAnswer { data }) if data.batch_results.len() == messages.len() => {
                    Ok(data.batch_results)
                }
                Err(error) if reply.status.is_success() => Err(error),
                Ok(_) => Err(BackendError::Unavailable(Failure::new(format!(
                    "{what}: there is not one answer for each message"
                )))),
                Err(_) => Err(refusal(what, reply)),
            }
        });
        let results = match answer.await {
            Ok(results) => results,
            Err(error) => return each(error, messages.len()),
        };
        let refused = || {
            let what = self.transit.what("was refused for one message", &self.expected.id);
            BackendError::Misconfigured(Failure::new(what))
        };
        let mut signed = Vec::with_capacity(messages.len());
        for (result, message) in results.into_iter().zip(messages) {
            let text = result.signature.ok_or_else(refused);
            signed.push(text.and_then(|text| self.believe(message, &text)));
            // Each check takes as long as two signatures; others come in between.
            tokio::task::yield_now().await;
        }
        signed
    }

    /// A signature as the server writes it: `vault:vVERSION:BASE64`.
    fn believe(&self, message: &[u8], text: &str) -> Result<Signature, BackendError> {
        let prefix = format!(":v{}:", self.version);
        let base64 = text.split_once(&prefix).map(|(_, base64)| base64);
        let bytes = base64.and_then(|base64| Base64::decode_vec(base64).ok()).unwrap_or_default();
        aside(message.len(), || self.expected.signature(SigningScheme::Ed25519, message, &bytes))
    }
}

#[async_trait]
impl RemoteSigner for VaultSigner {
    fn public_key(&self) -> &PublicKey {
        &self.expected.public_key
    }

    async fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        self.check(scheme)?;
        let body = aside(message.len(), || {
            let input = Base64::encode_string(message);
            format!(r#"{{"key_version":{},"input":"{input}"}}"#, self.version)
        });
        let signature = self.ask(body, |what, reply| {
            if !reply.status.is_success() {
                return Err(refusal(what, reply));
            }
            let SignAnswer { data } = read(what, reply)?;
            self.believe(message, &data.signature)
        });
        signature.await
    }

    fn batch(&self) -> usize {
        BATCH
    }

    async fn sign_many(
        &self,
        scheme: SigningScheme,
        messages: &[Vec<u8>],
    ) -> Vec<Result<Signature, BackendError>> {
        if let Err(error) = self.check(scheme) {
            return each(error, messages.len());
        }
        let mut requests = Vec::new();
        let mut rest = messages;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            requests.push(self.sign_some(now));
            rest = later;
        }
        let outcomes = stream::iter(requests).buffered(AT_ONCE).collect::<Vec<_>>().await;
        outcomes.into_iter().flatten().collect()
    }
}

/// How many of the first messages go into one request; at least one.
fn fitting(messages: &[Vec<u8>]) -> usize {
    let mut bytes = 0_usize;
    let fits = messages.iter().take(REQUEST).take_while(|message| {
        bytes = bytes.saturating_add(message.len());
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

/// The same error for each of several messages.
fn each(error: BackendError, count: usize) -> Vec<Result<Signature, BackendError>> {
    let text = kms_backend::ErrorChain(&error).to_string();
    let again = |error: &BackendError| {
        let failure = Failure::new(text.clone());
        match error {
            BackendError::NotFound(_) => BackendError::NotFound(failure),
            BackendError::Denied(_) => BackendError::Denied(failure),
            BackendError::WrongSecret(_) => BackendError::WrongSecret(failure),
            BackendError::Throttled { retry_after, .. } => {
                BackendError::Throttled { failure, retry_after: *retry_after }
            }
            BackendError::Corrupt(_) => BackendError::Corrupt(failure),
            BackendError::Misconfigured(_) => BackendError::Misconfigured(failure),
            _ => BackendError::Unavailable(failure),
        }
    };
    (0..count).map(|_| Err(again(&error))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_in_messages_and_bytes() {
        assert_eq!(fitting(&vec![vec![1]; 1000]), REQUEST);
        assert_eq!(fitting(&vec![vec![1; BATCH_BYTES / 2]; 3]), 2);
        assert_eq!(fitting(&[vec![1; BATCH_BYTES + 1], vec![1]]), 1);
        assert_eq!(fitting(&[vec![1]]), 1);
    }

    #[test]
    fn an_error_of_all_is_each_one_s() {
        let errors = each(BackendError::Denied(Failure::new("no")), 3);
        assert_eq!(errors.len(), 3);
        for error in errors {
            assert!(
                matches!(error, Err(BackendError::Denied(failure)) if failure.to_string() == "no")
            );
        }
    }
}
