//! What was asked of a node, and what became of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kms_service::KmsError;

use crate::node::DEADLINE;

/// How much later than its deadline an answer may be on a machine with too much to do.
const SLACK: Duration = Duration::from_secs(8);

/// The kinds of answers.
pub(crate) const KINDS: [&str; 12] = [
    "answered",
    "stopped",
    "overloaded",
    "deadline",
    "answer lost",
    "disabled",
    "to be deleted",
    "not found",
    "mismatch",
    "backend",
    "internal",
    "other",
];

/// The requests to one node.
#[derive(Default)]
pub(crate) struct Tally {
    sent: AtomicU64,
    kinds: [AtomicU64; KINDS.len()],
    vanished: AtomicU64,
    hung: AtomicU64,
    signatures: AtomicU64,
}

/// What a tally says at one time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    /// By [`KINDS`].
    pub(crate) kinds: [u64; KINDS.len()],
    /// Requests whose caller went away.
    pub(crate) vanished: u64,
    /// Requests without an answer.
    pub(crate) hung: u64,
    /// Signatures that verified.
    pub(crate) signatures: u64,
}

impl Tally {
    /// Waits for an answer, and counts it; where this is dropped before, the caller has vanished.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, KmsError>>,
    ) -> Result<T, KmsError> {
        add(&self.sent, 1);
        let mut under_way = UnderWay { tally: self, ended: false };
        let answer = tokio::time::timeout(DEADLINE + SLACK, request).await;
        under_way.ended = true;
        match answer {
            Ok(answer) => {
                add(&self.kinds[kind(&answer)], 1);
                answer
            }
            Err(_) => {
                add(&self.hung, 1);
                Err(KmsError::AnswerLost)
            }
        }
    }

    /// So many signatures verified.
    pub(crate) fn verified(&self, signatures: usize) {
        add(&self.signatures, signatures as u64);
    }

    pub(crate) fn count(&self) -> Count {
        let get = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Count {
            sent: get(&self.sent),
            kinds: std::array::from_fn(|kind| get(&self.kinds[kind])),
            vanished: get(&self.vanished),
            hung: get(&self.hung),
            signatures: get(&self.signatures),
        }
    }
}

/// A request that is under way.
struct UnderWay<'a> {
    tally: &'a Tally,
    ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.ended {
            add(&self.tally.vanished, 1);
        }
    }
}

impl Count {
    /// Requests that nobody has seen the end of.
    pub(crate) fn under_way(&self) -> i128 {
        let ended = self.kinds.iter().sum::<u64>() + self.vanished + self.hung;
        i128::from(self.sent) - i128::from(ended)
    }

    pub(crate) fn kind(&self, name: &str) -> u64 {
        self.kinds.iter().zip(KINDS).filter(|(_, kind)| *kind == name).map(|(count, _)| count).sum()
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::wrapping_add)
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        self.with(before, u64::wrapping_sub)
    }

    fn with(&self, other: &Self, combine: fn(u64, u64) -> u64) -> Self {
        Self {
            sent: combine(self.sent, other.sent),
            kinds: std::array::from_fn(|kind| combine(self.kinds[kind], other.kinds[kind])),
            vanished: combine(self.vanished, other.vanished),
            hung: combine(self.hung, other.hung),
            signatures: combine(self.signatures, other.signatures),
        }
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::SeqCst);
}

fn kind<T>(answer: &Result<T, KmsError>) -> usize {
    match answer {
        Ok(_) => 0,
        Err(KmsError::Stopped) => 1,
        Err(KmsError::Overloaded { .. }) => 2,
        Err(KmsError::DeadlineExceeded) => 3,
        Err(KmsError::AnswerLost) => 4,
        Err(KmsError::Disabled { .. }) => 5,
        Err(KmsError::PendingDeletion { .. }) => 6,
        Err(KmsError::NotFound { .. }) => 7,
        Err(KmsError::TypeMismatch { .. }) => 8,
        Err(KmsError::Backend(_)) => 9,
        Err(KmsError::Internal) => 10,
        Err(_) => 11,
    }
}
