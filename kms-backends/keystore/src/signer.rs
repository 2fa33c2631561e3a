//! What signs with a stored key: the secret stays sealed until it is first used.

use std::sync::{Arc, OnceLock};

use kms_backend::{BackendError, LocalSigner, SoftwareSigner};
use kms_keys::{Operator, OperatorError, PublicKey, Signature, SigningScheme};

use crate::format::record::Record;
use crate::store::Store;

/// A signer that opens its record when it is first asked. That the record is whole was shown when the
/// store was opened, so opening ten thousand keys doesn't wait for ten thousand secrets.
pub(crate) struct StoredSigner {
    store: Arc<Store>,
    record: Record,
    public_key: PublicKey,
    opened: OnceLock<SoftwareSigner>,
}

impl StoredSigner {
    pub(crate) fn new(store: Arc<Store>, record: Record, public_key: PublicKey) -> Self {
        Self { store, record, public_key, opened: OnceLock::new() }
    }

    fn opened(&self) -> Result<&SoftwareSigner, BackendError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let signer = SoftwareSigner::new(self.store.unseal(&self.record)?);
        Ok(self.opened.get_or_init(|| signer))
    }
}

impl LocalSigner for StoredSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        self.opened()?.sign(scheme, message)
    }

    fn execute(
        &self,
        operator: &dyn Operator,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperatorError> {
        let opened = self.opened().map_err(|error| OperatorError::Refused(error.to_string()))?;
        opened.execute(operator, input, out)
    }
}
