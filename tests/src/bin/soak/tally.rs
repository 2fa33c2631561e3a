//! What was asked of a node, and what became of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kms_service::KmsError;

use crate::node::CLIENT_DEADLINE;

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
    lost: AtomicU64,
    signatures: AtomicU64,
    /// Restarts that have begun, and that have ended.
    restarts: AtomicU64,
    restarted: AtomicU64,
}

/// What a tally says at one time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    /// By [`KINDS`].
    pub(crate) kinds: [u64; KINDS.len()],
    /// Requests whose caller went away.
    pub(crate) vanished: u64,
    /// Requests without an answer: their client gave them up, or was told that it won't come.
    pub(crate) lost: u64,
    /// Signatures that verified.
    pub(crate) signatures: u64,
}

impl Tally {
    /// Waits for an answer, and counts it; where this is dropped before, the caller has vanished.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, KmsError>>,
    ) -> Result<T, KmsError> {
        self.until_answered(request, |_| false).await
    }

    /// The same for what is signed in this process: that its answer is lost is no answer, unless the service
    /// was stopped meanwhile.
    pub(crate) async fn ask_local<T>(
        &self,
        request: impl Future<Output = Result<T, KmsError>>,
    ) -> Result<T, KmsError> {
        let restarts = self.restarts();
        let restarted = self.restarted.load(Ordering::SeqCst);
        let undisturbed = || restarts == restarted && restarts == self.restarts();
        let lost = |answer: &Result<T, KmsError>| {
            matches!(answer, Err(KmsError::AnswerLost)) && undisturbed()
        };
        self.until_answered(request, lost).await
    }

    async fn until_answered<T>(
        &self,
        request: impl Future<Output = Result<T, KmsError>>,
        lost: impl FnOnce(&Result<T, KmsError>) -> bool,
    ) -> Result<T, KmsError> {
        add(&self.sent, 1);
        let begun = Instant::now();
        let mut under_way = UnderWay { tally: self, ended: false };
        // The client's own timer comes first.
        let answer = tokio::time::timeout(CLIENT_DEADLINE * 2, request).await;
        under_way.ended = true;
        let answer = answer.unwrap_or(Err(KmsError::DeadlineExceeded));
        let given_up = matches!(answer, Err(KmsError::DeadlineExceeded | KmsError::AnswerLost))
            && begun.elapsed() >= CLIENT_DEADLINE;
        let counter =
            if given_up || lost(&answer) { &self.lost } else { &self.kinds[kind(&answer)] };
        add(counter, 1);
        answer
    }

    /// How often the service was started again, or is about to be.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::SeqCst)
    }

    /// The service is started again, until what this gives is dropped.
    pub(crate) fn restarting(&self) -> impl Drop + use<'_> {
        add(&self.restarts, 1);
        Restarting(self)
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
            lost: get(&self.lost),
            signatures: get(&self.signatures),
        }
    }
}

/// A request that is under way.
struct UnderWay<'a> {
    tally: &'a Tally,
    ended: bool,
}

struct Restarting<'a>(&'a Tally);

impl Drop for Restarting<'_> {
    fn drop(&mut self) {
        add(&self.0.restarted, 1);
    }
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
        let ended = self.kinds.iter().sum::<u64>() + self.vanished + self.lost;
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
            lost: combine(self.lost, other.lost),
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
