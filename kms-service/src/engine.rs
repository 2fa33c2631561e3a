//! Takes requests apart: decides what is allowed, and hands the work on. Never waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{Backend, Capabilities, IfMissing};
use kms_keys::{KeyId, KeyType};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;
use tracing::Span;

use crate::counters::CounterSet;
use crate::farewell::wait_at_most;
use crate::gathering::Gathering;
use crate::lane::Lanes;
use crate::lifecycle::{self, Finished, Pending, What};
use crate::message::{KeyIds, KmsMessage, Request};
use crate::metrics::Meters;
use crate::operators::OperatorTable;
use crate::outbox::Deliver;
use crate::places::Places;
use crate::registry::Registry;
use crate::remote::RemoteTasks;
use crate::serial::Serial;
use crate::{Caller, KmsError, Limits, health, sync};

/// How long a backend may take to say good-bye when the service stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Everything a running service has, but its relay.
pub(crate) struct Engine {
    pub(crate) registry: Registry,
    /// The aggregate whose keys are being found. The next request waits until they are.
    pub(crate) gathering: Option<Gathering>,
    pub(crate) operators: OperatorTable,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<CounterSet>,
    pub(crate) meters: Meters,
    pub(crate) lanes: Lanes,
    pub(crate) remote: RemoteTasks,
    pub(crate) backends: BTreeMap<String, OpenBackend>,
    pub(crate) serial: Serial<Pending>,
    /// What is under way or waits of that.
    pub(crate) changes: Arc<Places>,
    pub(crate) lifecycle: JoinSet<Finished>,
    /// The key that each of them is about.
    pub(crate) changing: HashMap<tokio::task::Id, KeyId>,
    pub(crate) runtime: Handle,
}

/// A backend, and what it can do.
pub(crate) struct OpenBackend {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) capabilities: Capabilities,
    pub(crate) if_missing: IfMissing,
}

/// What has come in behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Nobody,
    Others,
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
        let deliver: Deliver = Box::new({
            let runtime = runtime.clone();
            move |outbox| sync::on_runtime(&runtime, move || outbox.give_next())
        });
        Self {
            lanes: Lanes::new(limits.queue, limits.threads, &counters, deliver),
            remote: RemoteTasks::new(backends.keys(), limits.queue, &runtime),
            serial: Serial::default(),
            changes: Places::new(limits.queue),
            lifecycle: JoinSet::new(),
            changing: HashMap::new(),
            meters: Meters::default(),
            gathering: None,
            registry,
            operators,
            limits,
            counters,
            backends,
            runtime,
        }
    }

    /// Decides about one request, and answers it or hands it on – an aggregate only once
    /// [`Engine::gather`] says that there is nothing left to do for it.
    pub(crate) fn handle(&mut self, message: KmsMessage, behind: Waiting) {
        let KmsMessage { caller, deadline, span, mut request } = message;
        let key_type = self.key_type(&request);
        request.observe(self.meters.of(&caller, request.name(), key_type));
        let now = Instant::now();
        if let Some(void) = self.counters.void(deadline, now, request.is_abandoned()) {
            return request.refuse(void);
        }
        let deadline = deadline.min(now + self.limits.deadline);
        let span = tracing::debug_span!(
            parent: &span, "kms", operation = request.name(), %caller,
            key = (!request.keys().is_empty()).then(|| display(KeyIds(request.keys())))
        );
        let envelope = Envelope { caller, deadline, span };
        match request {
            Request::Register { id, key_type, if_missing, reply } => {
                self.take_turn(envelope, id, What::Register { key_type, if_missing }, reply);
            }
            Request::Change { id, change, reply } => {
                self.take_turn(envelope, id, What::Change(change), reply);
            }
            Request::KeyInfo { id, reply } => {
                reply.send(self.registry.get(&id).map(|entry| entry.info().clone()));
            }
            Request::List { filter, page, reply } => {
                reply.send(Ok(self.registry.list(&filter, &page)));
            }
            Request::Sign(order, reply) => self.sign(envelope, order, reply, behind),
            Request::SignMany(order, reply) => self.sign_many(envelope, order, reply),
            Request::SignAggregate { ids, message, reply } => {
                self.sign_aggregate(envelope, ids, message, reply);
            }
            Request::Execute { id, operator, input, reply } => {
                self.execute(envelope, &id, &operator, input, reply);
            }
            Request::Health { reply } => {
                let backends = self.backends.iter();
                let backends =
                    backends.map(|(name, open)| (name.clone(), Arc::clone(&open.backend)));
                let report = health::report(
                    backends.collect(),
                    self.remote.breakers(),
                    self.registry.len(),
                    Arc::clone(&self.counters),
                );
                self.remote.run(envelope.deadline, reply, report);
            }
        }
    }

    /// Has the metrics tell how the backends are, until the engine is dropped.
    pub(crate) fn measure_health(&self) {
        let backends = self.backends.iter();
        let backends = backends.map(|(name, open)| (name.clone(), Arc::clone(&open.backend)));
        let backends: Vec<_> = backends.collect();
        let (counters, breakers) = (Arc::clone(&self.counters), self.remote.breakers());
        self.remote.again(health::INTERVAL, move || {
            health::measure(backends.clone(), breakers.clone(), Arc::clone(&counters))
        });
    }

    /// The type of the key that a request is about, if there is one.
    fn key_type(&self, request: &Request) -> Option<KeyType> {
        match request {
            Request::Register { key_type, .. } => Some(*key_type),
            Request::SignAggregate { .. } => Some(KeyType::Bls12381),
            request => Some(self.registry.get(request.keys().first()?).ok()?.info().key_type),
        }
    }
}

/// The service stops by being dropped. What waits is answered, what runs ends, and backends are
/// closed, before the drop – and with it the stop – is over.
impl Drop for Engine {
    fn drop(&mut self) {
        self.remote.stop();
        if let Some(gathering) = self.gathering.take() {
            gathering.refuse(KmsError::Stopped);
        }
        for pending in self.serial.drain() {
            pending.reply.send(Err(KmsError::Stopped));
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
