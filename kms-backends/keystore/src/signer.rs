//! What signs with a stored key: the secret stays sealed until it is first used.

use std::sync::{Arc, OnceLock};

use kms_backend::{BackendError, LocalSigner, SoftwareSigner};
use kms_keys::{KeyType, Operator, OperatorError, PublicKey, Signature, SigningScheme};

use crate::error::StoreError;
use crate::format::record::Record;
use crate::store::Store;

/// A signer that opens its record when it is first asked. That the record is whole was shown when the
/// store was opened, so opening ten thousand keys doesn't wait for ten thousand secrets.
pub(crate) struct StoredSigner {
    store: Arc<Store>,
    /// The record as it is stored, which takes less room than what it says: there may be very many.
    record: Box<[u8]>,
    public_key: PublicKey,
    opened: OnceLock<Box<SoftwareSigner>>,
}

impl StoredSigner {
    pub(crate) fn new(
        store: Arc<Store>,
        record: &Record,
        public_key: PublicKey,
    ) -> Result<Self, StoreError> {
        let record = record.to_bytes()?.into();
        Ok(Self { store, record, public_key, opened: OnceLock::new() })
    }

    fn opened(&self) -> Result<&SoftwareSigner, BackendError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let record = Record::read_again(&self.record)?;
        let key = self.store.unseal(&record)?;
        let signer = Box::new(SoftwareSigner::new(key));
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

    fn is_brief(&self) -> bool {
        // To open the record takes as long as several signatures.
        self.opened.get().is_some() && self.public_key.key_type() != KeyType::Bls12381
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
