//! From a request that uses a secret to a job: what is checked before a lane gets to see it.

use std::sync::Arc;

use kms_backend::{LocalSigner, Operation, Signer};
use kms_keys::{KeyId, Signature, SigningScheme};
use kms_secrets::SecretBytes;
use zeroize::Zeroizing;

use crate::batch::{self, Outcomes};
use crate::engine::{Engine, Envelope, Waiting};
use crate::gathering::Gathering;
use crate::job::{Keys, Task, Ticket, caught, weight};
use crate::message::{SignManyOrder, SignOrder};
use crate::registry::Usable;
use crate::remote::{Answer, Demand};
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
        let places = self.limits.places(message.len(), 1);
        match signer {
            Signer::Local(signer) => {
                // A hop to another thread and back costs more than a cheap signature. One under BIP-340 is
                // two: the library checks it.
                let weight = weight(&message);
                let cheap = weight == 1 && scheme != SigningScheme::Bip340;
                let brief = || Ok(signer.is_brief());
                let at_once = cheap
                    && behind == Waiting::Nobody
                    && caught(&self.counters, brief).unwrap_or(false);
                let mut task = Task::boxed(ticket, weight, move || {
                    signer.sign(scheme, &message).map_err(KmsError::Backend)
                });
                if at_once && self.lanes.is_idle(key_type) {
                    task.run(1, &|| false);
                    task.answer();
                } else {
                    self.lanes.submit(key_type, caller, places, task);
                }
            }
            Signer::Remote(signer) => self.remotely(&id, &caller, places, ticket, async move {
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
        let bytes = messages.iter().map(Vec::len).sum();
        let checked = self
            .check_count("the number of messages", messages.len())
            .and_then(|()| self.check_sum(bytes))
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
        let places = self.limits.places(bytes, messages.len());
        match signer {
            Signer::Local(signer) => {
                let threads = self.lanes.threads(key_type);
                let parts = batch::split(ticket, &signer, scheme, messages, threads);
                let places = (places / parts.len()).max(1);
                for part in parts {
                    self.lanes.submit(key_type, caller.clone(), places, part);
                }
            }
            // Nobody is asked for nothing.
            Signer::Remote(_) if messages.iter().all(Result::is_err) => {
                let refused = |message: Result<_, _>| message.err().map(Err);
                ticket.answer(Ok(messages.into_iter().filter_map(refused).collect()));
            }
            Signer::Remote(signer) => self.remotely(&id, &caller, places, ticket, async move {
                Ok(remote_batch::sign_each(&*signer, scheme, messages, deadline).await)
            }),
        }
    }

    /// Leaves the aggregate to [`Engine::gather`].
    pub(crate) fn sign_aggregate(
        &mut self,
        envelope: Envelope,
        ids: Vec<KeyId>,
        message: Vec<u8>,
        reply: Reply<AggregateSignature>,
    ) {
        match self.check_aggregate(&ids, &message) {
            Ok(()) => self.gathering = Some(Gathering::new(envelope, ids, message, reply)),
            Err(error) => reply.send(Err(error)),
        }
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
        let places = self.limits.places(input.len(), 1);
        let task = Task::boxed(ticket, usize::MAX, move || run(&*operator, &*signer, &input));
        self.lanes.submit(key_type, caller, places, task);
    }

    fn check_aggregate(&self, ids: &[KeyId], message: &[u8]) -> Result<(), KmsError> {
        if ids.is_empty() {
            return Err(KmsError::InvalidInput { expected: "expected at least one key".into() });
        }
        self.check_count("the number of keys", ids.len())?;
        self.check_message(SigningScheme::BlsPop, message)
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

    /// Of messages that come in one request.
    fn check_sum(&self, bytes: usize) -> Result<(), KmsError> {
        at_most("all messages together", bytes, self.limits.request_bytes())
    }

    fn check_count(&self, what: &'static str, found: usize) -> Result<(), KmsError> {
        at_most(what, found, self.limits.queue)
    }

    pub(crate) fn ticket<T>(&self, envelope: Envelope, keys: Keys, reply: Reply<T>) -> Ticket<T> {
        let Envelope { deadline, span, .. } = envelope;
        Ticket { deadline, span, counters: Arc::clone(&self.counters), keys, reply }
    }
}

impl Engine {
    /// Has the backend of the key called `id` do `work`.
    fn remotely<T: Answer>(
        &self,
        id: &KeyId,
        caller: &Caller,
        places: usize,
        ticket: Ticket<T>,
        work: impl Future<Output = Result<T, KmsError>> + Send + 'static,
    ) {
        match self.registry.get(id) {
            Ok(entry) => {
                let demand = Demand { backend: entry.backend(), caller, places };
                self.remote.spawn(&demand, ticket, work);
            }
            Err(error) => ticket.answer(Err(error)),
        }
    }
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), KmsError> {
    if found > limit { Err(KmsError::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// Runs an operator into a buffer of just the size that it promises, which so doesn't grow and leave
/// copies behind. One that breaks its promise may have left some; what it made is not given out.
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
