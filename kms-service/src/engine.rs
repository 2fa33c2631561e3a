//! Takes requests apart: decides what is allowed, and hands the work on. Never waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{Backend, BackendError, Capabilities, Failure, IfMissing, KeyInfo, KeySpec};
use kms_keys::{KeyId, KeyType};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;
use tracing::{Instrument, Span};

use crate::counters::CounterSet;
use crate::farewell::wait_at_most;
use crate::lane::Lanes;
use crate::lifecycle::{self, Done, Finished, Pending, What};
use crate::message::{Change, KmsMessage, Reply, Request};
use crate::operators::OperatorTable;
use crate::registry::Registry;
use crate::remote::RemoteTasks;
use crate::serial::{Serial, Turn};
use crate::{Caller, KmsError, Limits, health};

/// How long a backend may take to say good-bye when the service stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// When to try again where too many lifecycle operations wait.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Everything a running service has, but its relay.
pub(crate) struct Engine {
    pub(crate) registry: Registry,
    pub(crate) operators: OperatorTable,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<CounterSet>,
    pub(crate) lanes: Lanes,
    pub(crate) remote: RemoteTasks,
    backends: BTreeMap<String, OpenBackend>,
    serial: Serial<Pending>,
    lifecycle: JoinSet<Finished>,
    runtime: Handle,
}

/// A backend, and what it can do.
pub(crate) struct OpenBackend {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) capabilities: Capabilities,
}

/// A request without what it asks for: who, until when, and in whose span.
pub(crate) struct Envelope {
    pub(crate) caller: Caller,
    pub(crate) deadline: Instant,
    pub(crate) span: Span,
}

impl Engine {
    pub(crate) fn new(
        registry: Registry,
        backends: BTreeMap<String, OpenBackend>,
        operators: OperatorTable,
        limits: Limits,
        counters: Arc<CounterSet>,
        runtime: Handle,
    ) -> Self {
        Self {
            lanes: Lanes::new(limits.queue, &runtime),
            remote: RemoteTasks::new(backends.keys(), &runtime),
            serial: Serial::new(limits.queue),
            lifecycle: JoinSet::new(),
            registry,
            operators,
            limits,
            counters,
            backends,
            runtime,
        }
    }

    /// Decides about one request, and answers it or hands it on.
    pub(crate) fn handle(&mut self, message: KmsMessage) {
        let KmsMessage {
            caller,
            deadline,
            span,
            request,
        } = message;
        if request.is_abandoned() {
            return self.counters.abandoned.increment();
        }
        let now = Instant::now();
        if deadline <= now {
            self.counters.expired.increment();
            return request.refuse(KmsError::DeadlineExceeded);
        }
        let deadline = deadline.min(now + self.limits.deadline);
        let span = tracing::debug_span!(
            parent: &span, "kms", operation = request.name(), %caller,
            key = request.key().map(KeyId::as_str)
        );
        let envelope = Envelope {
            caller,
            deadline,
            span,
        };
        match request {
            Request::Register {
                id,
                key_type,
                if_missing,
                reply,
            } => {
                self.take_turn(
                    envelope,
                    id,
                    What::Register {
                        key_type,
                        if_missing,
                    },
                    reply,
                );
            }
            Request::Change { id, change, reply } => {
                self.take_turn(envelope, id, What::Change(change), reply);
            }
            Request::KeyInfo { id, reply } => {
                drop(reply.send(self.registry.get(&id).map(|entry| entry.info().clone())));
            }
            Request::List {
                filter,
                page,
                reply,
            } => {
                drop(reply.send(Ok(self.registry.list(&filter, &page))));
            }
            Request::Sign(order, reply) => self.sign(envelope, order, reply),
            Request::SignMany(order, reply) => self.sign_many(envelope, order, reply),
            Request::SignAggregate {
                ids,
                message,
                reply,
            } => {
                self.sign_aggregate(envelope, &ids, message, reply);
            }
            Request::Execute {
                id,
                operator,
                input,
                reply,
            } => {
                self.execute(envelope, &id, &operator, input, reply);
            }
            Request::Health { reply } => {
                let backends = self.backends.iter();
                let backends =
                    backends.map(|(name, open)| (name.clone(), Arc::clone(&open.backend)));
                let report = health::report(
                    backends.collect(),
                    self.registry.len(),
                    Arc::clone(&self.counters),
                );
                self.remote.run(reply, report);
            }
        }
    }

    /// The next lifecycle operation that has ended; `None` while there is none under way.
    pub(crate) async fn next_finished(&mut self) -> Option<Finished> {
        match self.lifecycle.join_next().await? {
            Ok(finished) => Some(finished),
            // Tasks are cancelled only when the engine is dropped, and don't panic.
            Err(error) => {
                tracing::error!(%error, "a lifecycle operation was lost");
                None
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
                self.registry
                    .update(&id, key.info.clone(), Some(key.signer));
                key.info
            }
            Done::Changed(info) => {
                self.registry.update(&id, info.clone(), None);
                info
            }
        });
        drop(reply.send(answer));
        self.next_turn(&id);
    }

    fn take_turn(&mut self, envelope: Envelope, id: KeyId, what: What, reply: Reply<KeyInfo>) {
        let Envelope {
            caller,
            deadline,
            span,
        } = envelope;
        let pending = Pending {
            caller,
            deadline,
            span,
            id: id.clone(),
            what,
            reply,
        };
        match self.serial.begin(&id, pending) {
            Turn::Now(pending) => {
                if !self.start(pending) {
                    self.next_turn(&id);
                }
            }
            Turn::Later => {}
            Turn::Full(pending) => {
                self.counters.overloaded.increment();
                let overloaded = KmsError::Overloaded {
                    retry_after: RETRY_AFTER,
                };
                drop(pending.reply.send(Err(overloaded)));
            }
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
        if pending.reply.is_closed() {
            self.counters.abandoned.increment();
            return false;
        }
        if pending.deadline <= Instant::now() {
            self.counters.expired.increment();
            drop(pending.reply.send(Err(KmsError::DeadlineExceeded)));
            return false;
        }
        let answered = match pending.what {
            What::Register {
                key_type,
                if_missing,
            } => match self.registering(&pending.caller, &pending.id, key_type, if_missing) {
                Ok(Registering::Known(info)) => Ok(*info),
                Ok(Registering::New {
                    spec,
                    backend_name,
                    backend,
                }) => {
                    let counters = Arc::clone(&self.counters);
                    self.spawn(pending, async move {
                        let key = lifecycle::register(&counters, &*backend, &spec).await?;
                        Ok(Done::Registered {
                            spec,
                            backend: backend_name,
                            key,
                        })
                    });
                    return true;
                }
                Err(error) => Err(error),
            },
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
        drop(pending.reply.send(answered));
        false
    }

    fn spawn(
        &mut self,
        pending: Pending,
        work: impl Future<Output = Result<Done, KmsError>> + Send + 'static,
    ) {
        let Pending {
            deadline,
            span,
            id,
            reply,
            ..
        } = pending;
        let task = async move {
            // Past the deadline the backend is left alone with what it was doing.
            let outcome = tokio::time::timeout_at(deadline.into(), work).await;
            Finished {
                id,
                reply,
                outcome: outcome.unwrap_or(Err(KmsError::AnswerLost)),
            }
        };
        self.lifecycle
            .spawn_on(task.instrument(span), &self.runtime);
    }

    fn registering(
        &self,
        caller: &Caller,
        id: &KeyId,
        key_type: KeyType,
        if_missing: IfMissing,
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
        if !open
            .capabilities
            .schemes(key_type)
            .contains(&key_type.default_scheme())
        {
            return Err(misconfigured(format!(
                "backend {name} holds no {key_type} keys"
            )));
        }
        let mut spec = KeySpec::new(id.clone(), key_type);
        spec.if_missing = if_missing;
        let backend = Arc::clone(&open.backend);
        Ok(Registering::New {
            spec: Box::new(spec),
            backend_name: name.clone(),
            backend,
        })
    }

    fn changing(
        &self,
        caller: &Caller,
        id: &KeyId,
        change: Change,
    ) -> Result<(Arc<dyn Backend>, KeyInfo), KmsError> {
        let entry = self.registry.permitted(caller, id)?;
        let open = self
            .backends
            .get(entry.backend())
            .ok_or(KmsError::Internal)?;
        let operation = change.operation();
        if open.capabilities.operations.contains(&operation) {
            Ok((Arc::clone(&open.backend), entry.info().clone()))
        } else {
            Err(KmsError::Unsupported {
                id: id.clone(),
                operation,
            })
        }
    }
}

/// What a registration comes to.
enum Registering {
    Known(Box<KeyInfo>),
    New {
        spec: Box<KeySpec>,
        backend_name: String,
        backend: Arc<dyn Backend>,
    },
}

/// The service stops by being dropped. What waits is answered, what runs ends, and backends are
/// closed, before the drop – and with it the stop – is over.
impl Drop for Engine {
    fn drop(&mut self) {
        self.remote.stop();
        for pending in self.serial.drain() {
            drop(pending.reply.send(Err(KmsError::Stopped)));
        }
        let mut finish = || {
            self.lanes.close();
            // For backends that use the runtime when they close.
            let _inside = self.runtime.enter();
            // Whoever waits for these learns that the outcome is unknown. What still asks a backend
            // holds on to it.
            let idle = wait_at_most(FAREWELL, async {
                self.lifecycle.shutdown().await;
                self.remote.ended().await;
            });
            let close = self.backends.values();
            let close = close.map(|open| lifecycle::guarded(&self.counters, open.backend.close()));
            if !wait_at_most(FAREWELL, futures::future::join_all(close)) || !idle {
                tracing::warn!("a backend took more than {FAREWELL:?} to let go; left behind");
            }
        };
        match Handle::try_current().map(|current| current.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(finish),
            // Outside of a runtime nothing is kept from running by waiting here.
            _ => finish(),
        }
    }
}
