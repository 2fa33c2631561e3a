//! Operations on one key take turns: when one starts, what it comes to, and what its end changes.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{Backend, BackendError, Failure, IfMissing, KeyInfo, KeySpec, Request};
use kms_keys::{KeyId, KeyType};
use tracing::Instrument;

use crate::engine::{Engine, Envelope};
use crate::lifecycle::{self, Done, Finished, Pending, What};
use crate::message::Change;
use crate::reply::Reply;
use crate::serial::Turn;
use crate::{Caller, KmsError};

/// When to try again where too many operations wait.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What a registration comes to.
enum Registering {
    Known(Box<KeyInfo>),
    New { spec: Box<KeySpec>, backend_name: String, backend: Arc<dyn Backend> },
}

impl Engine {
    /// The next lifecycle operation that has ended; `None` while there is none under way.
    pub(crate) async fn next_finished(&mut self) -> Option<Finished> {
        match self.lifecycle.join_next_with_id().await? {
            Ok((task, finished)) => {
                self.changing.remove(&task);
                Some(finished)
            }
            // Its caller learns that the answer is lost, and the key's next operation has its turn.
            Err(error) => {
                tracing::error!(%error, "a lifecycle operation was lost");
                let id = self.changing.remove(&error.id())?;
                Some(Finished { id, reply: None, outcome: Err(KmsError::AnswerLost) })
            }
        }
    }

    /// Takes in what a backend has done, answers, and gives the next its turn.
    pub(crate) fn finish(&mut self, finished: Finished) {
        let Finished { id, reply, outcome } = finished;
        let answer = outcome.map(|done| match done {
            Done::Registered { spec, backend, key } => {
                let info = key.info.clone();
                self.registry.admit(*spec, backend, key);
                info
            }
            Done::Rotated(key) => {
                let info = key.info.clone();
                self.registry.rotate(&id, key);
                info
            }
            Done::Changed(info) => {
                self.registry.update(&id, info.clone());
                info
            }
        });
        if let Some(reply) = reply {
            reply.send(answer);
        }
        self.next_turn(&id);
    }

    /// Starts an operation, or has it wait for the one before.
    pub(crate) fn take_turn(
        &mut self,
        envelope: Envelope,
        id: KeyId,
        what: What,
        reply: Reply<KeyInfo>,
    ) {
        let Envelope { caller, deadline, span } = envelope;
        let Some(place) = self.changes.take(&caller, 1) else {
            self.counters.overloaded.increment();
            return reply.send(Err(KmsError::Overloaded { retry_after: RETRY_AFTER }));
        };
        let pending = Pending { caller, deadline, span, id: id.clone(), what, reply, place };
        match self.serial.begin(&id, pending) {
            Turn::Now(pending) => {
                if !self.start(pending) {
                    self.next_turn(&id);
                }
            }
            Turn::Later => {}
        }
    }

    fn next_turn(&mut self, id: &KeyId) {
        while let Some(pending) = self.serial.finish(id) {
            if self.start(pending) {
                break;
            }
        }
    }

    /// Starts an operation whose turn it is: `true` if it is under way, `false` if it has been
    /// answered already.
    fn start(&mut self, pending: Pending) -> bool {
        let abandoned = pending.reply.is_closed();
        if let Some(void) = self.counters.void(pending.deadline, Instant::now(), abandoned) {
            pending.reply.send(Err(void));
            return false;
        }
        let answered = match pending.what {
            What::Register { key_type, if_missing } => {
                match self.registering(&pending.caller, &pending.id, key_type, if_missing) {
                    Ok(Registering::Known(info)) => Ok(*info),
                    Ok(Registering::New { spec, backend_name, backend }) => {
                        let counters = Arc::clone(&self.counters);
                        self.spawn(pending, async move {
                            let key = lifecycle::register(&counters, &*backend, &spec).await?;
                            Ok(Done::Registered { spec, backend: backend_name, key })
                        });
                        return true;
                    }
                    Err(error) => Err(error),
                }
            }
            What::Change(change) => match self.changing(&pending.caller, &pending.id, change) {
                Ok((backend, info)) => {
                    let counters = Arc::clone(&self.counters);
                    self.spawn(pending, async move {
                        lifecycle::change(&counters, backend, info, change).await
                    });
                    return true;
                }
                Err(error) => Err(error),
            },
        };
        pending.reply.send(answered);
        false
    }

    fn spawn(
        &mut self,
        pending: Pending,
        work: impl Future<Output = Result<Done, KmsError>> + Send + 'static,
    ) {
        let Pending { deadline, span, id, reply, place, .. } = pending;
        let (about, patience) = (id.clone(), self.limits.startup);
        let task = async move {
            let _place = place;
            let request = Request::until(deadline);
            let mut work = pin!(request.scope(work));
            if let Ok(outcome) = tokio::time::timeout_at(deadline.into(), &mut work).await {
                return Finished { id, reply: Some(reply), outcome };
            }
            // Its caller waits no longer, but the backend may still do it, and then the registry must
            // know: a key that was disabled late must not go on signing.
            reply.send(Err(KmsError::AnswerLost));
            let outcome = tokio::time::timeout(patience, work).await;
            let outcome = outcome.unwrap_or_else(|_| {
                tracing::error!(key = %id, "the backend never answered; what it did is unknown");
                Err(KmsError::AnswerLost)
            });
            Finished { id, reply: None, outcome }
        };
        let task = self.lifecycle.spawn_on(task.instrument(span), &self.runtime);
        self.changing.insert(task.id(), about);
    }

    fn registering(
        &self,
        caller: &Caller,
        id: &KeyId,
        key_type: KeyType,
        if_missing: Option<IfMissing>,
    ) -> Result<Registering, KmsError> {
        if self.registry.get(id).is_ok() {
            let entry = self.registry.permitted(caller, id)?.expect_type(key_type)?;
            return Ok(Registering::Known(Box::new(entry.info().clone())));
        }
        let misconfigured =
            |text: String| KmsError::Backend(BackendError::Misconfigured(Failure::new(text)));
        let mut backends = self.backends.iter();
        let (Some((name, open)), None) = (backends.next(), backends.next()) else {
            return Err(misconfigured(format!(
                "key {id} is not declared in the settings, and there are {} backends to choose \
                 from; declare the key",
                self.backends.len()
            )));
        };
        if !open.capabilities.schemes(key_type).contains(&key_type.default_scheme()) {
            return Err(misconfigured(format!("backend {name} holds no {key_type} keys")));
        }
        let mut spec = KeySpec::new(id.clone(), key_type);
        spec.if_missing = if_missing.unwrap_or(open.if_missing);
        let backend = Arc::clone(&open.backend);
        Ok(Registering::New { spec: Box::new(spec), backend_name: name.clone(), backend })
    }

    fn changing(
        &self,
        caller: &Caller,
        id: &KeyId,
        change: Change,
    ) -> Result<(Arc<dyn Backend>, KeyInfo), KmsError> {
        let entry = self.registry.permitted(caller, id)?;
        let open = self.backends.get(entry.backend()).ok_or(KmsError::Internal)?;
        let operation = change.operation();
        if open.capabilities.operations.contains(&operation) {
            Ok((Arc::clone(&open.backend), entry.info().clone()))
        } else {
            Err(KmsError::Unsupported { id: id.clone(), operation })
        }
    }
}
