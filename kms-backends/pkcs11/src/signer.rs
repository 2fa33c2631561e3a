//! Signs in the token.

use std::sync::Arc;

use kms_backend::{BackendError, RemoteSigner, async_trait};
use kms_backend_remote::{Call, Expected};
use kms_keys::{KeyType, PublicKey, Signature, SigningScheme};
use sha2::{Digest, Sha256};

use crate::keys::{self, Wanted};
use crate::shared::Shared;

pub(crate) struct TokenSigner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) expected: Arc<Expected>,
    pub(crate) key: Arc<Wanted>,
    pub(crate) version: u32,
}

#[async_trait]
impl RemoteSigner for TokenSigner {
    fn public_key(&self) -> &PublicKey {
        &self.expected.public_key
    }

    async fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        let call = Call {
            operation: "sign",
            key: Some(self.expected.id.as_str()),
            algorithm: Some(scheme.as_str()),
        };
        let key_type = self.expected.public_key.key_type();
        let message: Arc<[u8]> = message.into();
        let ask = || {
            let (message, expected) = (Arc::clone(&message), Arc::clone(&self.expected));
            let (key, version) = (Arc::clone(&self.key), self.version);
            self.shared.workers.ask(move |connection| {
                let data = match (key_type, scheme) {
                    (KeyType::Secp256k1, SigningScheme::EcdsaSha256) => {
                        Sha256::digest(&message).to_vec()
                    }
                    _ => message.to_vec(),
                };
                let bytes = keys::sign(connection, &key, key_type, version, &data)?;
                // Here and not on the node's runtime: it costs more than a signature of this process.
                expected.signature(scheme, &message, &bytes)
            })
        };
        self.shared.remote.retried(&call, ask).await
    }
}
