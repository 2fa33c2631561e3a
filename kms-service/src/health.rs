//! How the service and its backends are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kms_backend::{Backend, Health, HealthLevel};

use crate::counters::CounterSet;
use crate::{BreakerState, Counters, lifecycle};

/// How long a backend may take to say how it is before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the service and its backends are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthReport {
    /// The worst level of any backend.
    pub level: HealthLevel,
    /// Each backend, by the name that the settings give it.
    pub backends: BTreeMap<String, Health>,
    /// How many keys are registered.
    pub keys: usize,
    /// What the service has counted since it was started.
    pub counters: Counters,
}

/// Asks every backend how it is, all at once, and waits for none longer than [`PATIENCE`]. One whose
/// breaker is open has failed, whatever it says itself.
pub(crate) async fn report(
    backends: Vec<(String, Arc<dyn Backend>, BreakerState)>,
    keys: usize,
    counters: Arc<CounterSet>,
) -> HealthReport {
    let asked = backends.into_iter().map(|(name, backend, breaker)| {
        let counters = &counters;
        async move {
            let answer = lifecycle::guarded(counters, backend.health());
            let health = match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(health)) => health,
                Ok(Err(_)) => Health::new(HealthLevel::Failed, "panicked when asked"),
                Err(_) => {
                    Health::new(HealthLevel::Failed, format!("no answer within {PATIENCE:?}"))
                }
            };
            (name, seen_through(breaker, health))
        }
    });
    let backends: BTreeMap<_, _> = futures::future::join_all(asked).await.into_iter().collect();
    let level = backends.values().map(|health| health.level).max().unwrap_or(HealthLevel::Ok);
    HealthReport { level, backends, keys, counters: counters.snapshot() }
}

fn seen_through(breaker: BreakerState, mut health: Health) -> Health {
    let (level, reason) = match breaker {
        BreakerState::Closed => return health,
        BreakerState::HalfOpen => (HealthLevel::Degraded, "it failed, and is being asked again"),
        BreakerState::Open => (HealthLevel::Failed, "it failed again and again, and is left alone"),
    };
    health.level = health.level.max(level);
    health.reasons.push(reason.into());
    health
}
