//! A key pair that signs, as it is generated or imported.

use std::sync::Arc;

use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use kms_backend::{BackendError, Failure};
use kms_keys::{KeyId, KeyType};

use crate::attempt::Outcome;
use crate::import::Imported;
use crate::keys::{Private, misconfigured};
use crate::make::NewKey;
use crate::object::Objects;
use crate::{object, public};

/// A pair that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewPair {
    pub(crate) id: KeyId,
    pub(crate) key_type: KeyType,
    pub(crate) version: u32,
    /// What is imported; nothing for a key that is generated.
    pub(crate) imported: Option<Arc<Imported>>,
}

impl NewKey for NewPair {
    fn label(&self) -> &str {
        self.id.as_str()
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn what(&self) -> String {
        let how = if self.imported.is_some() { "import" } else { "generate" };
        format!("can't {how} key {}", self.id)
    }

    fn keys(&self) -> Vec<Attribute> {
        object::private_keys([object::label(&self.id)])
    }

    fn public_keys(&self) -> Option<Vec<Attribute>> {
        Some(object::public_keys([object::label(&self.id)]))
    }

    fn create(&self, session: &Session, cka_id: Vec<u8>, last: bool) -> Outcome<()> {
        let what = self.what();
        let Some(objects) = Objects::new(&self.id, self.key_type, cka_id) else {
            let key_type = self.key_type;
            return Ok(Err(misconfigured(format!("{what}: tokens hold no {key_type} keys"))));
        };
        let made = match &self.imported {
            Some(imported) => imported.create(session, &objects, last, &what)?,
            None => {
                let (public, private) = (objects.public(), objects.private());
                Ok(session.generate_key_pair(objects.generation(), &public, &private)?)
            }
        };
        match made {
            Ok((public, private)) => self.check(session, public, private, &what),
            Err(refused) => Ok(Err(refused)),
        }
    }
}

impl NewPair {
    /// Whether the token made what it was told to, and signs with it.
    fn check(
        &self,
        session: &Session,
        public: ObjectHandle,
        private: ObjectHandle,
        what: &str,
    ) -> Outcome<()> {
        let corrupt = |what| Ok(Err(BackendError::Corrupt(Failure::new(what))));
        if !Private::read(session, private)?.guarded {
            return Ok(Err(misconfigured(format!(
                "{what}: the token would let it out: it is not sensitive, or it is extractable"
            ))));
        }
        let Some(public_key) = public::read(session, public, self.key_type)? else {
            return corrupt(format!("{what}: the token gives no public key for it"));
        };
        if let Some(expected) = self.imported.as_ref().map(|imported| &imported.public_key)
            && *expected != public_key
        {
            return corrupt(format!(
                "{what}: the token gives public key {public_key} for {expected}"
            ));
        }
        if !public::signs(session, private, &public_key)? {
            return corrupt(format!(
                "{what}: a test signature is not one by its public key {public_key}"
            ));
        }
        Ok(Ok(()))
    }
}
