//! Finding the keys of an aggregate: some at a time, since they may be many, and the node's runtime has
//! other tasks.

use std::sync::Arc;

use kms_backend::{LocalSigner, Operation};
use kms_keys::{KeyId, KeyType, SigningScheme};

use crate::aggregate::Aggregate;
use crate::engine::{Engine, Envelope};
use crate::job::Keys;
use crate::registry::Usable;
use crate::reply::Reply;
use crate::{AggregateSignature, Caller, KmsError};

/// So many keys are found in the time of a cheap signature.
const AT_ONCE: usize = 256;

/// An aggregate, not all of whose keys have been found yet.
pub(crate) struct Gathering {
    envelope: Envelope,
    ids: std::vec::IntoIter<KeyId>,
    keys: Vec<Usable>,
    signers: Vec<Arc<dyn LocalSigner>>,
    message: Vec<u8>,
    reply: Reply<AggregateSignature>,
}

impl Gathering {
    pub(crate) fn new(
        envelope: Envelope,
        ids: Vec<KeyId>,
        message: Vec<u8>,
        reply: Reply<AggregateSignature>,
    ) -> Self {
        let (keys, signers) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        Self { envelope, ids: ids.into_iter(), keys, signers, message, reply }
    }

    pub(crate) fn refuse(self, error: KmsError) {
        self.reply.send(Err(error));
    }
}

impl Engine {
    /// Finds some more keys of the aggregate that was begun, and hands it to its lane after the last.
    /// Whether there are more to find.
    pub(crate) fn gather(&mut self) -> bool {
        let Some(mut gathering) = self.gathering.take() else { return false };
        for id in gathering.ids.by_ref().take(AT_ONCE) {
            match self.for_aggregate(&gathering.envelope.caller, &id) {
                Ok((key, signer)) => {
                    gathering.keys.push(key);
                    gathering.signers.push(signer);
                }
                Err(error) => {
                    gathering.refuse(error);
                    return false;
                }
            }
        }
        if gathering.ids.len() > 0 {
            self.gathering = Some(gathering);
            return true;
        }
        let Gathering { envelope, keys, signers, message, reply, .. } = gathering;
        let (caller, places) =
            (envelope.caller.clone(), self.limits.places(message.len(), keys.len()));
        let ticket = self.ticket(envelope, Keys::Many(keys), reply);
        let aggregate = Aggregate::boxed(ticket, signers, message);
        self.lanes.submit(KeyType::Bls12381, caller, places, aggregate);
        false
    }

    fn for_aggregate(
        &self,
        caller: &Caller,
        id: &KeyId,
    ) -> Result<(Usable, Arc<dyn LocalSigner>), KmsError> {
        let entry = self.registry.permitted(caller, id)?.expect_type(KeyType::Bls12381)?;
        let (key, _) = entry.for_signing(Some(SigningScheme::BlsPop), None)?;
        let signer = key.local(Operation::Aggregate)?;
        Ok((key, signer))
    }
}
