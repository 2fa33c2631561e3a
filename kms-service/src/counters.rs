//! What the service counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::{KmsError, metrics};

/// What a service has counted since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that were dropped because their caller had gone.
    pub abandoned: u64,
    /// Requests that were dropped because their deadline had passed.
    pub expired: u64,
    /// Requests that were refused because a queue was full.
    pub overloaded: u64,
    /// Panics that were caught in signers, operators and backends.
    pub panics: u64,
}

/// The counters of a running service, counted from any thread.
#[derive(Debug)]
pub(crate) struct CounterSet {
    pub(crate) abandoned: Counter,
    pub(crate) expired: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) panics: Counter,
}

/// One number, for [`Counters`] and for the metrics recorder.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64, ::metrics::Counter);

impl Counter {
    pub(crate) fn increment(&self) {
        // Nothing else is read or written by what a counter says.
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.increment(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for CounterSet {
    fn default() -> Self {
        let counter = |seen| Counter(AtomicU64::new(0), seen);
        Self {
            abandoned: counter(metrics::dropped("abandoned")),
            expired: counter(metrics::dropped("expired")),
            overloaded: counter(metrics::overloaded()),
            panics: counter(metrics::panics()),
        }
    }
}

impl CounterSet {
    /// Why a request with this deadline shouldn't be begun any more, counted. Whoever has a deadline goes when
    /// it has passed, so that comes first.
    pub(crate) fn void(
        &self,
        deadline: Instant,
        now: Instant,
        abandoned: bool,
    ) -> Option<KmsError> {
        if deadline <= now {
            self.expired.increment();
            Some(KmsError::DeadlineExceeded)
        } else if abandoned {
            self.abandoned.increment();
            Some(KmsError::AnswerLost)
        } else {
            None
        }
    }

    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            abandoned: self.abandoned.get(),
            expired: self.expired.get(),
            overloaded: self.overloaded.get(),
            panics: self.panics.get(),
        }
    }
}
