//! From a request that uses a secret to a job: what is checked before a lane gets to see it.

use std::sync::Arc;

use kms_backend::{LocalSigner, Operation, Signer};
use kms_keys::{Bls12381Signature, KeyId, KeyType, Signature, SigningScheme};
use kms_secrets::SecretBytes;
use zeroize::Zeroizing;

use crate::batch::{self, Outcomes};
use crate::engine::{Engine, Envelope, Waiting};
use crate::job::{Interrupt, Keys, Task, Ticket};
use crate::message::{SignManyOrder, SignOrder};
use crate::registry::Usable;
use crate::remote_batch;
use crate::reply::Reply;
use crate::{AggregateSignature, Caller, KmsError, Operator};

impl Engine {
    pub(crate) fn sign(
        &self,
        envelope: Envelope,
        order: SignOrder,
        reply: Reply<Signature>,
        behind: Waiting,
    ) {
        let SignOrder { id, scheme, version, message } = order;
        let signing = self.registry.for_signing(&envelope.caller, &id, scheme, version);
        let checked = signing.and_then(|(key, scheme)| {
            self.check_message(scheme, &message)?;
            Ok((key, scheme))
        });
        let (key, scheme) = match checked {
            Ok(checked) => checked,
            Err(error) => return reply.send(Err(error)),
        };
        let (signer, key_type, caller) =
            (key.signer.clone(), key.key_type, envelope.caller.clone());
        let ticket = self.ticket(envelope, Keys::One(key), reply);
        match signer {
            Signer::Local(signer) => {
                // A hop to another thread and back costs more than a cheap signature.
                let at_once = behind == Waiting::Nobody && signer.is_brief();
                let mut task = Task::boxed(ticket, move |_| {
                    signer.sign(scheme, &message).map_err(KmsError::Backend)
                });
                if at_once && self.lanes.is_idle(key_type) {
                    task.run(&|| false);
                    task.answer();
                } else {
                    self.lanes.submit(key_type, &caller, task);
                }
            }
            Signer::Remote(signer) => self.remotely(&id, ticket, async move {
                signer.sign(scheme, &message).await.map_err(KmsError::Backend)
            }),
        }
    }

    pub(crate) fn sign_many(
        &self,
        envelope: Envelope,
        order: SignManyOrder,
        reply: Reply<Outcomes>,
    ) {
        let SignManyOrder { id, scheme, messages } = order;
        let checked = self
            .check_count("the number of messages", messages.len())
            .and_then(|()| self.registry.for_signing(&envelope.caller, &id, scheme, None));
        let (key, scheme) = match checked {
            Ok(checked) => checked,
            Err(error) => return reply.send(Err(error)),
        };
        let deadline = envelope.deadline;
        // A message that can't be signed doesn't keep the others from being signed.
        let messages: Vec<_> = messages
            .into_iter()
            .map(|message| self.check_message(scheme, &message).map(|()| message))
            .collect();
        let (signer, key_type, caller) =
            (key.signer.clone(), key.key_type, envelope.caller.clone());
        let ticket = self.ticket(envelope, Keys::One(key), reply);
        match signer {
            Signer::Local(signer) => {
                let parts = self.lanes.threads(key_type);
                for part in batch::split(ticket, &signer, scheme, messages, parts) {
                    self.lanes.submit(key_type, &caller, part);
                }
            }
            Signer::Remote(signer) => self.remotely(&id, ticket, async move {
                Ok(remote_batch::sign_each(&*signer, scheme, messages, deadline).await)
            }),
        }
    }

    pub(crate) fn sign_aggregate(
        &self,
        envelope: Envelope,
        ids: &[KeyId],
        message: Vec<u8>,
        reply: Reply<AggregateSignature>,
    ) {
        let checked = self.aggregating(&envelope.caller, ids, &message).and_then(|keys| {
            let signers = keys.iter().map(|key| key.local(Operation::Aggregate));
            let signers = signers.collect::<Result<Vec<_>, _>>()?;
            Ok((keys, signers))
        });
        let (keys, signers) = match checked {
            Ok(checked) => checked,
            Err(error) => return reply.send(Err(error)),
        };
        let caller = envelope.caller.clone();
        let ticket = self.ticket(envelope, Keys::Many(keys), reply);
        self.lanes.submit(
            KeyType::Bls12381,
            &caller,
            Task::boxed(ticket, move |interrupt| aggregate(&signers, &message, interrupt)),
        );
    }

    pub(crate) fn execute(
        &self,
        envelope: Envelope,
        id: &KeyId,
        operator: &str,
        input: Vec<u8>,
        reply: Reply<SecretBytes>,
    ) {
        let executing = self.executing(&envelope.caller, id, operator, input.len());
        let checked = executing.and_then(|(key, operator)| {
            key.local(Operation::Execute).map(|signer| (key, signer, operator))
        });
        let (key, signer, operator) = match checked {
            Ok(checked) => checked,
            Err(error) => return reply.send(Err(error)),
        };
        let (key_type, caller) = (key.key_type, envelope.caller.clone());
        let ticket = self.ticket(envelope, Keys::One(key), reply);
        let task = Task::boxed(ticket, move |_| run(&*operator, &*signer, &input));
        self.lanes.submit(key_type, &caller, task);
    }

    fn aggregating(
        &self,
        caller: &Caller,
        ids: &[KeyId],
        message: &[u8],
    ) -> Result<Vec<Usable>, KmsError> {
        if ids.is_empty() {
            return Err(KmsError::InvalidInput { expected: "expected at least one key".into() });
        }
        self.check_count("the number of keys", ids.len())?;
        self.check_message(SigningScheme::BlsPop, message)?;
        let keys = ids.iter().map(|id| {
            self.registry.permitted(caller, id)?.expect_type(KeyType::Bls12381)?;
            self.registry
                .for_signing(caller, id, Some(SigningScheme::BlsPop), None)
                .map(|(key, _)| key)
        });
        keys.collect()
    }

    fn executing(
        &self,
        caller: &Caller,
        id: &KeyId,
        operator: &str,
        input: usize,
    ) -> Result<(Usable, Arc<dyn Operator>), KmsError> {
        let key = self.registry.usable(caller, id)?;
        let entry = self.operators.get(operator).ok_or_else(|| KmsError::UnknownOperator {
            name: operator.chars().take(64).collect(),
        })?;
        self.registry.get(id)?.expect_type(entry.key_type)?;
        self.check_size("the input", input)?;
        Ok((key, Arc::clone(&entry.operator)))
    }

    fn check_message(&self, scheme: SigningScheme, message: &[u8]) -> Result<(), KmsError> {
        self.check_size("the message", message.len())?;
        match scheme.message_len() {
            Some(len) if len != message.len() => Err(KmsError::InvalidInput {
                expected: format!(
                    "{scheme} signs exactly {len} bytes, the message has {}",
                    message.len()
                ),
            }),
            _ => Ok(()),
        }
    }

    fn check_size(&self, what: &'static str, found: usize) -> Result<(), KmsError> {
        at_most(what, found, self.limits.message_bytes)
    }

    fn check_count(&self, what: &'static str, found: usize) -> Result<(), KmsError> {
        at_most(what, found, self.limits.queue)
    }

    fn ticket<T>(&self, envelope: Envelope, keys: Keys, reply: Reply<T>) -> Ticket<T> {
        let Envelope { deadline, span, .. } = envelope;
        Ticket { deadline, span, counters: Arc::clone(&self.counters), keys, reply }
    }
}

impl Engine {
    /// Has the backend of the key called `id` do `work`.
    fn remotely<T: Send + 'static>(
        &self,
        id: &KeyId,
        ticket: Ticket<T>,
        work: impl Future<Output = Result<T, KmsError>> + Send + 'static,
    ) {
        match self.registry.get(id) {
            Ok(entry) => self.remote.spawn(entry.backend(), ticket, work),
            Err(error) => ticket.answer(Err(error)),
        }
    }
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), KmsError> {
    if found > limit { Err(KmsError::TooLarge { what, found, limit }) } else { Ok(()) }
}

fn aggregate(
    signers: &[Arc<dyn LocalSigner>],
    message: &[u8],
    interrupt: &Interrupt<'_>,
) -> Result<AggregateSignature, KmsError> {
    let mut signatures = Vec::with_capacity(signers.len());
    for signer in signers {
        interrupt.check()?;
        match signer.sign(SigningScheme::BlsPop, message).map_err(KmsError::Backend)? {
            Signature::Bls12381(signature) => signatures.push(signature),
            _ => return Err(KmsError::Internal),
        }
    }
    let signature = Bls12381Signature::aggregate(&signatures).map_err(|_| KmsError::Internal)?;
    Ok(AggregateSignature {
        signature: Signature::Bls12381(signature),
        public_keys: signers.iter().map(|signer| signer.public_key().clone()).collect(),
    })
}

/// Runs an operator into a buffer of just the size that it promises, so that nothing grows and
/// leaves copies behind; more than it promised is not given out.
fn run(
    operator: &dyn Operator,
    signer: &dyn LocalSigner,
    input: &[u8],
) -> Result<SecretBytes, KmsError> {
    let limit = operator.max_output();
    let mut out = Zeroizing::new(Vec::with_capacity(limit));
    signer.execute(operator, input, &mut out).map_err(KmsError::Operator)?;
    if out.len() > limit {
        tracing::error!(operator = operator.name(), "the operator gave more than it promises");
        return Err(KmsError::Internal);
    }
    Ok(SecretBytes::from_slice(&out))
}
