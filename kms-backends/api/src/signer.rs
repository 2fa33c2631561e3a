//! What signs with one key.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kms_keys::{Operator, OperatorError, PublicKey, Signature, SigningScheme};

use crate::BackendError;

/// What a backend gives for one key.
#[derive(Clone)]
pub enum Signer {
    /// Signs in this process: pure computation, no I/O.
    Local(Arc<dyn LocalSigner>),
    /// Asks somebody else to sign.
    Remote(Arc<dyn RemoteSigner>),
}

/// Signs in this process. Every method is pure computation on the calling thread and may be called
/// from many threads at once.
pub trait LocalSigner: Send + Sync {
    /// The public key of what signs here.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message` under `scheme`. The service has checked that the scheme is of the key's type
    /// and that the message has a length that the scheme takes.
    ///
    /// # Errors
    /// [`BackendError`], when the key can't sign that, or not now.
    fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError>;

    /// Whether signing is so cheap – below a tenth of a millisecond, and never waiting for anything –
    /// that the service may do it at once, on the thread that took the request, when nothing else
    /// waits. `false` unless overridden.
    fn is_brief(&self) -> bool {
        false
    }

    /// Runs `operator` on the key's secret. The service has checked that the operator is meant for
    /// the key's type.
    ///
    /// # Errors
    /// What the operator says.
    fn execute(
        &self,
        operator: &dyn Operator,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperatorError>;
}

/// Has somebody else sign. There is no secret in this process, so no operator can run on it.
#[async_trait]
pub trait RemoteSigner: Send + Sync {
    /// The public key of what signs there.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message` under `scheme`, as [`LocalSigner::sign`] does. May be given up at any await.
    ///
    /// # Errors
    /// [`BackendError`].
    async fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError>;

    /// How many messages [`sign_many`](Self::sign_many) is to be given at once, at least 1: as many as are
    /// asked for in one go. 1 unless overridden.
    fn batch(&self) -> usize {
        1
    }

    /// Signs several messages, each with an outcome of its own, in order. One after the other unless
    /// overridden. May be given up at any await.
    async fn sign_many(
        &self,
        scheme: SigningScheme,
        messages: &[Vec<u8>],
    ) -> Vec<Result<Signature, BackendError>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            outcomes.push(self.sign(scheme, message).await);
        }
        outcomes
    }
}

impl Signer {
    /// The public key of what signs.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Local(signer) => signer.public_key(),
            Self::Remote(signer) => signer.public_key(),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Local(_) => "Local",
            Self::Remote(_) => "Remote",
        };
        f.debug_tuple(kind).field(self.public_key()).finish()
    }
}
