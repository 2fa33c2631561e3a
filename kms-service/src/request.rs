//! What a caller fills in.

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use kms_backend::IfMissing;
use kms_keys::{KeyId, KeyType, Signature, SigningScheme};

use crate::message::SignOrder;
use crate::{KmsApi, KmsError};

/// A key that a service needs: its id, its type, and what to do if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    pub(crate) id: String,
    pub(crate) key_type: KeyType,
    pub(crate) if_missing: Option<IfMissing>,
}

impl KeyRequest {
    /// A key that must be there. An id that is none is refused when the request is made
    /// ([`KmsError::InvalidKeyId`]).
    pub fn new(id: impl Into<String>, key_type: KeyType) -> Self {
        Self { id: id.into(), key_type, if_missing: None }
    }

    /// What to do if there is no such key; unless this is said, what the backend's settings say.
    #[must_use]
    pub fn if_missing(mut self, if_missing: IfMissing) -> Self {
        self.if_missing = Some(if_missing);
        self
    }
}

/// A message that is about to be signed. Awaiting it signs; until then a scheme, a version and a
/// deadline can be chosen.
#[must_use = "nothing is signed before it is awaited"]
pub struct SignRequest<'a> {
    api: &'a KmsApi,
    order: SignOrder,
    deadline: Option<Duration>,
}

impl<'a> SignRequest<'a> {
    pub(crate) fn new(api: &'a KmsApi, id: &KeyId, message: Vec<u8>) -> Self {
        let order = SignOrder { id: id.clone(), scheme: None, version: None, message };
        Self { api, order, deadline: None }
    }

    /// Signs under this scheme instead of the key type's default.
    pub fn scheme(mut self, scheme: SigningScheme) -> Self {
        self.order.scheme = Some(scheme);
        self
    }

    /// Signs with this version of the key instead of the current one.
    pub fn version(mut self, version: u32) -> Self {
        self.order.version = Some(version);
        self
    }

    /// Gives the request this long instead of the client's deadline. The service cuts it to its own
    /// limit.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a> IntoFuture for SignRequest<'a> {
    type Output = Result<Signature, KmsError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.api.send_sign(self.order, self.deadline))
    }
}
