//! Signers that sign rightly, once the script lets them.

use kms_backend::{BackendError, LocalSigner, RemoteSigner, SoftwareSigner, async_trait, waiting};
use kms_keys::{KeyId, Operator, OperatorError, PublicKey, Signature, SigningScheme};

use super::script::{Act, Script};

/// Signs in this process or plays a signer elsewhere, as it is asked.
pub struct FakeSigner {
    pub id: KeyId,
    pub signer: SoftwareSigner,
    pub script: Script,
}

impl LocalSigner for FakeSigner {
    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        self.script.perform_here(Act::Sign(self.id.clone()))?;
        self.signer.sign(scheme, message)
    }

    fn execute(
        &self,
        operator: &dyn Operator,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperatorError> {
        self.signer.execute(operator, input, out)
    }
}

#[async_trait]
impl RemoteSigner for FakeSigner {
    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    async fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        // As far as it waits at all, it waits for its turn.
        waiting(self.script.perform(Act::Sign(self.id.clone()))).await?;
        self.signer.sign(scheme, message)
    }
}

impl Drop for FakeSigner {
    fn drop(&mut self) {
        self.script.record(Act::SignerDrop(self.id.clone()));
    }
}
