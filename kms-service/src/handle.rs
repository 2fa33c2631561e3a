//! A registered key, as a service holds it: its id, and the way to the service.

use kms_backend::KeyInfo;
use kms_keys::{KeyId, PublicKey, Signature, SigningScheme};
use kms_secrets::SecretBytes;

use crate::{KmsApi, KmsError, SignRequest};

/// A registered key, held by its id. Cheap to clone; holds nothing secret.
#[derive(Clone, Debug)]
pub struct KeyHandle {
    api: KmsApi,
    info: KeyInfo,
}

impl KeyHandle {
    pub(crate) fn new(api: KmsApi, info: KeyInfo) -> Self {
        Self { api, info }
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.info.id
    }

    /// The public key of the version that was current when the key was registered through this
    /// handle.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.info.public_key
    }

    /// What was known of the key when it was registered through this handle.
    #[must_use]
    pub fn info(&self) -> &KeyInfo {
        &self.info
    }

    /// Signs `message`; see [`KmsApi::sign`].
    pub fn sign(&self, message: impl Into<Vec<u8>>) -> SignRequest<'_> {
        self.api.sign(&self.info.id, message)
    }

    /// Signs many messages; see [`KmsApi::sign_many`].
    ///
    /// # Errors
    /// As [`KmsApi::sign_many`].
    pub async fn sign_many(
        &self,
        scheme: Option<SigningScheme>,
        messages: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<Signature, KmsError>>, KmsError> {
        self.api.sign_many(&self.info.id, scheme, messages).await
    }

    /// Runs an operator on the key's secret; see [`KmsApi::execute`].
    ///
    /// # Errors
    /// As [`KmsApi::execute`].
    pub async fn execute(
        &self,
        operator: &str,
        input: impl Into<Vec<u8>>,
    ) -> Result<SecretBytes, KmsError> {
        self.api.execute(&self.info.id, operator, input).await
    }
}
