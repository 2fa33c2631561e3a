//! Opening the backends and registering every key of the settings. What fails is reported all at
//! once: every key, not only the first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use kms_backend::{
    Backend, BackendError, BackendSettings, ErrorChain, Failure, OpenContext, RegisteredKey,
    Request,
};
use kms_keys::KeyId;
use kms_secrets::{Protection, ShieldError};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::counters::CounterSet;
use crate::engine::{Engine, OpenBackend};
use crate::lifecycle::{self, guarded};
use crate::operators::OperatorTable;
use crate::registry::Registry;
use crate::{DeclaredKey, KmsError, KmsSettings, Operators, metrics};

/// How many keys are registered at once when the service starts.
const CONCURRENCY: usize = 16;

/// Why the service did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartupError {
    /// The node runs on a current-thread runtime. The service's `init` has to wait for backends,
    /// which there would keep everything from running.
    CurrentThreadRuntime,
    /// There is no memory or no randomness for the key that secrets are shielded with.
    NoShield(ShieldError),
    /// Two operators of the node have this name.
    DuplicateOperator(&'static str),
    /// Backends or keys that can't be used; never empty.
    Failures(Vec<StartupFailure>),
}

/// A backend or a key that can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub struct StartupFailure {
    /// The key; `None` if the backend itself could not be opened.
    pub key: Option<KeyId>,
    /// The name of the backend.
    pub backend: String,
    /// What went wrong.
    pub cause: KmsError,
}

/// Opens everything that `settings` name. On failure everything that was opened is closed again.
pub(crate) async fn start<B: BackendSettings, O: Operators>(
    settings: &KmsSettings<B>,
    runtime: &Handle,
) -> Result<Engine, StartupError> {
    // Before anything is opened: a secret that can't be shielded is not to be loaded.
    let protection = kms_secrets::protection().map_err(StartupError::NoShield)?;
    if protection == Protection::Unlocked {
        tracing::warn!(
            "secrets at rest are shielded by a key in {protection}, which may be swapped: no memory could \
             be locked (`ulimit -l`)"
        );
    }
    let operators = OperatorTable::new(O::operators()).map_err(StartupError::DuplicateOperator)?;
    metrics::describe();
    let counters = Arc::new(CounterSet::default());
    let limit = settings.limits().startup;
    let until = Instant::now() + limit;
    let mut failures = Vec::new();

    let mut backends = BTreeMap::new();
    let opening = settings.backends().iter().map(|(name, section)| {
        let context = OpenContext::new(name.as_str(), settings.base_dir());
        let counters = &counters;
        async move {
            let open = guarded(counters, async { section.open(&context).await });
            let request = Request::until(until.into_std());
            let opened = match timeout_at(until, request.scope(open)).await {
                Ok(Ok(opened)) => opened.map_err(KmsError::Backend),
                Ok(Err(panicked)) => Err(panicked),
                Err(_) => Err(too_late(limit)),
            };
            (name, section, opened)
        }
    });
    for (name, section, opened) in join_all(opening).await {
        match opened {
            Ok(backend) => {
                let (capabilities, if_missing) = (section.capabilities(), section.if_missing());
                backends.insert(name.clone(), OpenBackend { backend, capabilities, if_missing });
            }
            Err(cause) => {
                failures.push(StartupFailure { key: None, backend: name.clone(), cause });
            }
        }
    }

    let registering = settings.keys().iter().map(|declared| {
        let backend = backends.get(&declared.backend).map(|open| Arc::clone(&open.backend));
        let counters = &counters;
        async move {
            let outcome = match backend {
                Some(backend) => register(counters, &*backend, declared, until, limit).await,
                None => Err(KmsError::Backend(BackendError::Unavailable(Failure::new(format!(
                    "its backend {} could not be opened",
                    declared.backend
                ))))),
            };
            (declared, outcome)
        }
    });
    let mut registry = Registry::default();
    let mut outcomes = stream::iter(registering).buffered(CONCURRENCY);
    while let Some((DeclaredKey { spec, backend }, outcome)) = outcomes.next().await {
        match outcome {
            Ok(key) => registry.admit(spec.clone(), backend.clone(), key),
            Err(cause) => failures.push(StartupFailure {
                key: Some(spec.id.clone()),
                backend: backend.clone(),
                cause,
            }),
        }
    }
    drop(outcomes);

    let limits = settings.limits().clone();
    let engine = Engine::new(registry, backends, operators, limits, counters, runtime.clone());
    if failures.is_empty() {
        engine.measure_health();
        // Not before: of a start that fails, its report alone is told.
        if protection != Protection::Unlocked {
            tracing::info!("secrets at rest are shielded by a key in {protection}");
        }
        Ok(engine)
    } else {
        Err(StartupError::Failures(failures))
    }
}

async fn register(
    counters: &CounterSet,
    backend: &dyn Backend,
    declared: &DeclaredKey,
    until: Instant,
    limit: Duration,
) -> Result<RegisteredKey, KmsError> {
    let registered = lifecycle::register(counters, backend, &declared.spec);
    timeout_at(until, Request::until(until.into_std()).scope(registered))
        .await
        .unwrap_or_else(|_| Err(too_late(limit)))
}

fn too_late(limit: Duration) -> KmsError {
    KmsError::Backend(BackendError::Unavailable(Failure::new(format!(
        "no answer within {limit:?} (`limits.startup` in the settings)"
    ))))
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CurrentThreadRuntime => f.write_str(
                "the key management service needs a multi-thread tokio runtime, and this is a \
                 current-thread one",
            ),
            Self::NoShield(cause) => {
                write!(f, "the key management service can't start: {}", ErrorChain(cause))
            }
            Self::DuplicateOperator(name) => {
                write!(f, "two operators of this node are called {name:?}")
            }
            Self::Failures(failures) => {
                f.write_str("the key management service can't start")?;
                failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
            }
        }
    }
}

impl std::error::Error for StartupError {}

impl fmt::Display for StartupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = ErrorChain(&self.cause);
        match &self.key {
            Some(key) => write!(f, "key {key} (backend {}): {cause}", self.backend),
            None => write!(f, "backend {}: {cause}", self.backend),
        }
    }
}
