//! A signer for a key in this process's memory.

use kms_keys::{
    Operator, OperatorError, PublicKey, SecretKey, SignError, Signature, SigningScheme,
};

use crate::{BackendError, Failure, LocalSigner};

/// Signs with a key that is in this process's memory until the signer is dropped. For backends that
/// load secrets.
#[derive(Debug)]
pub struct SoftwareSigner {
    key: SecretKey,
    public_key: PublicKey,
}

impl SoftwareSigner {
    /// A signer for `key`.
    #[must_use]
    pub fn new(key: SecretKey) -> Self {
        Self { public_key: key.public_key(), key }
    }
}

impl LocalSigner for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        self.key.sign(scheme, message).map_err(|cause| match cause {
            SignError::RandomnessUnavailable(_) => {
                BackendError::Unavailable(Failure::because("no randomness to sign with", cause))
            }
            _ => BackendError::Misconfigured(Failure::because("the key can't sign that", cause)),
        })
    }

    fn is_brief(&self) -> bool {
        // A BLS signature costs ten times as much as the others.
        !matches!(self.key, SecretKey::Bls12381(_))
    }

    fn execute(
        &self,
        operator: &dyn Operator,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperatorError> {
        operator.run(self.key.expose_secret(), input, out)
    }
}
