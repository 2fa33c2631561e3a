//! How the service and its backends are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kms_backend::{Backend, Health, HealthLevel};
use kms_secrets::Protection;

use crate::counters::CounterSet;
use crate::metrics;
use crate::{BreakerState, Counters, lifecycle};

/// How long a backend may take to say how it is before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the service and its backends are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthReport {
    /// The worst level of any backend, and [`HealthLevel::Degraded`] at best while there are
    /// [`reasons`](HealthReport::reasons).
    pub level: HealthLevel,
    /// What is wrong that lies with no backend.
    pub reasons: Vec<String>,
    /// How the key is protected that secrets are shielded with in memory.
    pub protection: Protection,
    /// Each backend, by the name that the settings give it.
    pub backends: BTreeMap<String, Health>,
    /// How many keys are registered.
    pub keys: usize,
    /// What the service has counted since it was started.
    pub counters: Counters,
}

/// How often backends are asked for the metrics.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// Has the metrics tell how the backends are.
pub(crate) async fn measure(
    backends: Vec<(String, Arc<dyn Backend>)>,
    breaker: impl Fn(&str) -> BreakerState,
    counters: Arc<CounterSet>,
) {
    let report = report(backends, breaker, 0, counters).await;
    for (name, health) in &report.backends {
        metrics::backend_health(name).set(match health.level {
            HealthLevel::Ok => 0,
            HealthLevel::Degraded => 1,
            HealthLevel::Failed => 2,
            HealthLevel::Fatal => 3,
        });
    }
}

/// Asks every backend how it is, all at once, and waits for none longer than [`PATIENCE`]. One whose
/// breaker is open has failed, whatever it says itself; once it may be asked again, it is degraded.
pub(crate) async fn report(
    backends: Vec<(String, Arc<dyn Backend>)>,
    breaker: impl Fn(&str) -> BreakerState,
    keys: usize,
    counters: Arc<CounterSet>,
) -> HealthReport {
    let asked = backends.into_iter().map(|(name, backend)| {
        let (breaker, counters) = (&breaker, &counters);
        async move {
            let answer = lifecycle::guarded(counters, backend.health());
            let health = match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(health)) => health,
                Ok(Err(_)) => Health::new(HealthLevel::Failed, "panicked when asked"),
                Err(_) => {
                    Health::new(HealthLevel::Failed, format!("no answer within {PATIENCE:?}"))
                }
            };
            let health = seen_through(breaker(&name), health);
            (name, health)
        }
    });
    let backends: BTreeMap<_, _> = futures::future::join_all(asked).await.into_iter().collect();
    let level = backends.values().map(|health| health.level).max().unwrap_or(HealthLevel::Ok);
    // The service doesn't start without that key, and it stays as it is.
    let protection = kms_secrets::protection().unwrap_or(Protection::Unlocked);
    let (level, reasons) = under(protection, level);
    HealthReport { level, reasons, protection, backends, keys, counters: counters.snapshot() }
}

/// The level, and why it isn't better, with the shielding key protected like this.
fn under(protection: Protection, level: HealthLevel) -> (HealthLevel, Vec<String>) {
    if protection != Protection::Unlocked {
        return (level, Vec::new());
    }
    let reason = format!(
        "the key that secrets are shielded with lies in {protection}, which may be swapped: no memory \
         could be locked (`ulimit -l`)"
    );
    (level.max(HealthLevel::Degraded), vec![reason])
}

fn seen_through(breaker: BreakerState, mut health: Health) -> Health {
    let (level, reason) = match breaker {
        BreakerState::Closed => return health,
        BreakerState::HalfOpen => {
            (HealthLevel::Degraded, "it failed, and is asked again by the next request")
        }
        BreakerState::Open => (HealthLevel::Failed, "it failed again and again, and is left alone"),
    };
    health.level = health.level.max(level);
    health.reasons.push(reason.into());
    health
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_may_be_swapped_is_told_of_and_worse_is_not_hidden_by_it() {
        for level in [HealthLevel::Ok, HealthLevel::Degraded, HealthLevel::Failed] {
            for good in [Protection::MemfdSecret, Protection::Locked] {
                assert_eq!(under(good, level), (level, Vec::new()));
            }
            let (worse, reasons) = under(Protection::Unlocked, level);
            assert_eq!(worse, level.max(HealthLevel::Degraded));
            assert!(reasons.concat().contains("unlocked pages"), "{reasons:?}");
        }
    }

    #[tokio::test]
    async fn the_protection_that_is_in_force_is_reported() {
        let report = report(Vec::new(), |_| BreakerState::Closed, 0, Arc::default()).await;
        assert_eq!(report.protection, kms_secrets::protection().unwrap());
        assert_eq!(report.reasons.is_empty(), report.protection != Protection::Unlocked);
    }
}
