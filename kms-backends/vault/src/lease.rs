//! A token in use, and what is known of it.

use std::sync::Arc;
use std::time::Duration;

use kms_backend::{BackendError, Failure};
use kms_secrets::Shielded;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::login::{Granted, Terms};

/// How long a new token is not asked for again after one that helped nobody, as long as that one is good.
const USELESS: Duration = Duration::from_secs(30);

/// The longest pause before a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A token in use.
pub(crate) struct Lease {
    pub(crate) token: Arc<Shielded>,
    /// How many tokens there were before.
    pub(crate) generation: u64,
    pub(crate) terms: Terms,
    pub(crate) since: Instant,
    /// How long it could live when it was new.
    pub(crate) first_ttl: Option<Duration>,
}

/// A new token that was refused as the one before: it may be good, and lack a right.
#[derive(Clone, Copy)]
pub(crate) struct Useless {
    pub(crate) since: Instant,
    /// When it was last found to be good. `None` if it may not look itself up, so that a refusal of that
    /// doesn't say that it is gone.
    pub(crate) seen_good: Option<Instant>,
}

impl Lease {
    pub(crate) fn new(granted: Granted, generation: u64) -> Self {
        let Granted { token, terms } = granted;
        let first_ttl = terms.ttl;
        Self { token: Arc::new(token), generation, terms, since: Instant::now(), first_ttl }
    }

    pub(crate) fn until(&self) -> Option<Instant> {
        self.terms.ttl.and_then(|ttl| self.since.checked_add(ttl))
    }

    /// When to do something about its end: after two thirds of its time.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.terms.ttl.and_then(|ttl| self.since.checked_add(ttl * 2 / 3))
    }

    /// How much later than due, after so many failures: from a thirtieth of the token's time on, doubling.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let since_due = self.due().map_or(Duration::ZERO, |due| due.elapsed());
        let first = self.terms.ttl.map_or(RETRY, |ttl| (ttl / 30).max(Duration::from_millis(100)));
        since_due + first.saturating_mul(1 << doublings.min(16)).min(RETRY)
    }
}

impl Useless {
    /// Whether that is so recent that another token would be no better, if this one is good.
    pub(crate) fn holds(&self) -> bool {
        self.since.elapsed() < USELESS
    }

    /// Whether nothing more is to be found out of a token that was refused at that time: of many that are
    /// refused at once, one asks for all.
    pub(crate) fn covers(&self, refused: Instant) -> bool {
        self.seen_good.is_none_or(|seen| seen > refused)
    }
}

/// Whether these are the same token.
pub(crate) fn same(a: &Shielded, b: &Shielded) -> Result<bool, BackendError> {
    let compared = a.open(|a| b.open(|b| bool::from(a.ct_eq(b))));
    compared.and_then(|compared| compared).map_err(|cause| {
        BackendError::Corrupt(Failure::because("the token can't be opened again", cause))
    })
}
