//! The engine on a thread of its own, as the service's loop drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{Capabilities, IfMissing, KeySpec, Operation, SourceUse};
use kms_keys::{KeyId, KeyType};
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread::JoinHandle;
use tokio::runtime::{self, Runtime};

use crate::asked::Asked;
use crate::backend::{self, ModelBackend};
use crate::counters::CounterSet;
use crate::engine::{Engine, OpenBackend, Waiting};
use crate::message::{Change, KmsMessage, Request, SignManyOrder, SignOrder};
use crate::operators::OperatorTable;
use crate::registry::Registry;
use crate::reply::Reply;
use crate::{Caller, Limits};

/// Longer than any test.
const DEADLINE: Duration = Duration::from_secs(3600);

/// The service, with the keys `a` and `b`.
pub struct Service {
    relay: Sender<KmsMessage>,
    asked: Asked,
    thread: JoinHandle<()>,
}

/// A service that somebody else may ask as well.
#[derive(Clone)]
pub struct Client {
    relay: Sender<KmsMessage>,
    asked: Asked,
}

/// How a key is taken out of use.
#[derive(Clone, Copy, Debug)]
pub enum Closing {
    /// By `disable`.
    Disable,
    /// By `schedule_delete`.
    Delete,
}

impl Service {
    /// Starts the service with so many signing threads. Where a signature is `brief`, the loop itself
    /// makes it when nothing else is to be done.
    #[must_use]
    pub fn start(threads: usize, brief: bool) -> Self {
        let (relay, inbox) = channel();
        let thread = shuttle::thread::spawn(move || serve(&inbox, threads, brief));
        Self { relay, asked: Asked::default(), thread }
    }

    /// For another thread.
    #[must_use]
    pub fn client(&self) -> Client {
        Client { relay: self.relay.clone(), asked: self.asked.clone() }
    }

    /// All that was asked.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.asked.clone()
    }

    /// Stops the service once all clients have gone and what they sent was taken out; its lanes may
    /// be full then.
    ///
    /// # Panics
    /// If the service did.
    pub fn stop(self) {
        drop(self.relay);
        self.thread.join().unwrap();
    }
}

impl Client {
    /// Asks for a signature; the request's number.
    pub fn sign(&self, key: &str) -> usize {
        let (reply, answer) = Reply::channel();
        let message = b"a message".to_vec();
        let order = SignOrder { id: id(key), scheme: None, version: None, message };
        let number = self.asked.add(key, answer, |_| 1);
        self.send(Request::Sign(order, reply));
        number
    }

    /// Asks for so many signatures at once; the request's number.
    pub fn sign_many(&self, key: &str, count: usize) -> usize {
        let (reply, answer) = Reply::channel();
        let messages = vec![b"a message".to_vec(); count];
        let order = SignManyOrder { id: id(key), scheme: None, messages };
        let number = self.asked.add(key, answer, |signed: &Vec<Result<_, _>>| {
            signed.iter().filter(|one| one.is_ok()).count()
        });
        self.send(Request::SignMany(order, reply));
        number
    }

    /// Waits for a request's answer.
    pub fn wait(&self, number: usize) {
        self.asked.wait(number);
    }

    /// The requests that have signatures of `key` by now.
    #[must_use]
    pub fn signed(&self, key: &str) -> BTreeSet<usize> {
        self.asked.signed(key)
    }

    /// Takes the key out of use, and waits for the answer.
    ///
    /// # Panics
    /// If it was refused.
    pub fn close(&self, key: &str, closing: Closing) {
        let (reply, answer) = Reply::channel();
        let change = match closing {
            Closing::Disable => Change::Disable,
            Closing::Delete => Change::ScheduleDelete { wait: Duration::from_secs(1) },
        };
        self.send(Request::Change { id: id(key), change, reply });
        shuttle::future::block_on(answer).unwrap().unwrap();
    }

    fn send(&self, request: Request) {
        let message = KmsMessage {
            caller: Caller::new("model".to_owned()),
            deadline: Instant::now() + DEADLINE,
            span: tracing::Span::none(),
            request,
        };
        self.relay.send(message).unwrap();
    }
}

/// A key's id.
pub(crate) fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

/// A registry with the keys `a` and `b`.
pub(crate) fn registry(brief: bool) -> Registry {
    let mut registry = Registry::default();
    for name in ["a", "b"] {
        let spec = KeySpec::new(id(name), KeyType::Ed25519);
        let key = backend::key(&spec.id, brief);
        registry.admit(spec, "model".to_owned(), key);
    }
    registry
}

/// What `KmsService` does, with a relay that shuttle knows.
fn serve(inbox: &Receiver<KmsMessage>, threads: usize, brief: bool) {
    let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut limits = Limits { deadline: DEADLINE, ..Limits::default() };
    (limits.threads.cheap, limits.threads.costly) = (Some(threads), Some(threads));
    let operations = [Operation::Disable, Operation::ScheduleDelete];
    let open = OpenBackend {
        backend: Arc::new(ModelBackend),
        capabilities: Capabilities::software(SourceUse::Refused, operations),
        if_missing: IfMissing::Fail,
    };
    let mut engine = Engine::new(
        registry(brief),
        BTreeMap::from([("model".to_owned(), open)]),
        OperatorTable::default(),
        limits,
        Arc::new(CounterSet::default()),
        runtime.handle().clone(),
    );
    while let Ok(mut message) = inbox.recv() {
        while let Ok(next) = inbox.try_recv() {
            pass_on(&mut engine, message, Waiting::Others);
            message = next;
        }
        pass_on(&mut engine, message, Waiting::Nobody);
        finish(&mut engine, &runtime);
        if engine.lanes.can_wait() {
            shuttle::thread::sleep(Duration::ZERO);
            while let Ok(message) = inbox.try_recv() {
                pass_on(&mut engine, message, Waiting::Others);
            }
        }
        engine.lanes.call();
        finish(&mut engine, &runtime);
    }
}

fn pass_on(engine: &mut Engine, message: KmsMessage, behind: Waiting) {
    engine.handle(message, behind);
    while engine.gather() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

/// The backend answers at once, and nothing in here is an event but what the answers are given with.
fn finish(engine: &mut Engine, runtime: &Runtime) {
    while let Some(finished) = runtime.block_on(engine.next_finished()) {
        engine.finish(finished);
    }
}
