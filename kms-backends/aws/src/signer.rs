//! Signs in AWS.

use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use kms_backend::{BackendError, Failure, RemoteSigner, async_trait};
use kms_backend_remote::{Call, Expected, aside};
use kms_keys::{PublicKey, Signature, SigningScheme};
use sha2::{Digest, Sha256};

use crate::backend::Shared;

/// How many bytes AWS signs as they are.
pub(crate) const RAW: RangeInclusive<usize> = 1..=4096;

pub(crate) struct AwsSigner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) expected: Arc<Expected>,
    /// What AWS is asked for.
    pub(crate) name: String,
}

/// A message as AWS takes it.
struct Asked {
    algorithm: SigningAlgorithmSpec,
    message_type: MessageType,
    message: Blob,
    /// Under which what comes back is checked: what is hashed here is not hashed again.
    scheme: SigningScheme,
}

#[async_trait]
impl RemoteSigner for AwsSigner {
    fn public_key(&self) -> &PublicKey {
        &self.expected.public_key
    }

    async fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        let id = &self.expected.id;
        let asked = self.asked(scheme, message)?;
        let call =
            Call { operation: "sign", key: Some(id.as_str()), algorithm: Some(scheme.as_str()) };
        let what = format!("can't sign with key {id} ({})", self.name);
        let sign = || async {
            let request = |aws: &aws_sdk_kms::Client| {
                aws.sign()
                    .key_id(&self.name)
                    .signing_algorithm(asked.algorithm.clone())
                    .message_type(asked.message_type.clone())
                    .message(asked.message.clone())
                    .send()
            };
            let answer = self.shared.client.ask(&what, request).await.map_err(|it| it.error)?;
            let given = answer.signature.map(Blob::into_inner).unwrap_or_default();
            let given = compact(asked.scheme, given);
            self.expected.signature(asked.scheme, asked.message.as_ref(), &given)
        };
        self.shared.remote.retried(&call, sign).await
    }
}

impl AwsSigner {
    fn asked(&self, scheme: SigningScheme, message: &[u8]) -> Result<Asked, BackendError> {
        let (id, public_key) = (&self.expected.id, &self.expected.public_key);
        let refused = |what: String| Err(BackendError::Misconfigured(Failure::new(what)));
        let digest = match (public_key, scheme) {
            (PublicKey::Ed25519(_), SigningScheme::Ed25519) if RAW.contains(&message.len()) => {
                return Ok(Asked {
                    algorithm: SigningAlgorithmSpec::Ed25519Sha512,
                    message_type: MessageType::Raw,
                    message: Blob::new(message),
                    scheme,
                });
            }
            (PublicKey::Ed25519(_), SigningScheme::Ed25519) => {
                return refused(format!(
                    "key {id}: AWS signs {} to {} bytes with Ed25519, the message has {}",
                    RAW.start(),
                    RAW.end(),
                    message.len()
                ));
            }
            (PublicKey::Secp256k1(_), SigningScheme::EcdsaSha256) => {
                aside(message.len(), || Sha256::digest(message).to_vec())
            }
            (PublicKey::Secp256k1(_), SigningScheme::EcdsaDigest) if message.len() == 32 => {
                message.to_vec()
            }
            (PublicKey::Secp256k1(_), SigningScheme::EcdsaDigest) => {
                let len = message.len();
                return refused(format!("{scheme} signs 32 bytes, the message has {len}"));
            }
            _ => {
                let key_type = public_key.key_type();
                return refused(format!(
                    "key {id} is of type {key_type} and can't sign under {scheme} in AWS"
                ));
            }
        };
        Ok(Asked {
            algorithm: SigningAlgorithmSpec::EcdsaSha256,
            message_type: MessageType::Digest,
            message: Blob::new(digest),
            scheme: SigningScheme::EcdsaDigest,
        })
    }
}

/// `r` ‖ `s` of an ECDSA signature, which AWS gives in DER (RFC 3279, section 2.2.3). Of anything else, the
/// bytes as they are: they won't verify.
fn compact(scheme: SigningScheme, given: Vec<u8>) -> Vec<u8> {
    match scheme {
        SigningScheme::Ed25519 => given,
        _ => k256::ecdsa::Signature::from_der(&given)
            .map_or(given, |signature| signature.to_bytes().to_vec()),
    }
}
