//! Which candidates nobody makes a key of any more.
//!
//! No clock that two nodes would have to share tells: who looks for others sees the same candidate again and again
//! and counts the time itself, and a maker gives its candidate up long before others may have counted that much. A
//! candidate that is a minute old by the clock isn't waited for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::candidate::Candidate;

/// How long a candidate was seen that counts as abandoned. A node that was killed while it made a key makes it at
/// its next start: within what that may take and with the usual pauses between tries, unless settings say otherwise.
pub(crate) const WATCHED: Duration = Duration::from_secs(12);

/// How old a candidate may be, by its maker's count, that a key is made of: the rest is for the module's call that
/// makes it one.
pub(crate) const LATEST: Duration = Duration::from_secs(6);

/// After how long it is forgotten when a candidate was first seen: it has long become a key, or gone.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What this process knows of a token's candidates.
#[derive(Default)]
pub(crate) struct Leftovers(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Those of this process that couldn't be destroyed.
    unused: Vec<Candidate>,
    /// When those of others were first seen.
    seen: Vec<(Candidate, Instant)>,
}

impl Leftovers {
    /// Has whoever makes a key next destroy this candidate, if it is still there.
    pub(crate) fn add(&self, unused: Candidate) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those, anybody destroys.
        known.unused.retain(|candidate| !candidate.is_old());
        known.unused.push(unused);
    }

    /// Whether nobody makes a key of this candidate, which is there, any more. It is watched from now on.
    pub(crate) fn has(&self, candidate: &Candidate) -> bool {
        self.has_at(candidate, Instant::now())
    }

    fn has_at(&self, candidate: &Candidate, now: Instant) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if candidate.is_old() || known.unused.contains(candidate) {
            return true;
        }
        known.seen.retain(|(_, first)| now.duration_since(*first) < FORGOTTEN);
        if let Some((_, first)) = known.seen.iter().find(|(seen, _)| seen == candidate) {
            return now.duration_since(*first) >= WATCHED;
        }
        known.seen.push((candidate.clone(), now));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_for_long_is_left_over_and_what_was_not_is_not() {
        let (leftovers, begun) = (Leftovers::default(), Instant::now());
        let [one, other] = [1, 2].map(|version| Candidate::new(version).unwrap());
        let has =
            |candidate, seconds| leftovers.has_at(candidate, begun + Duration::from_secs(seconds));
        assert!(!has(&one, 0) && !has(&one, 11) && !has(&other, 11));
        assert!(has(&one, 12) && !has(&other, 12) && !has(&other, 22));
        assert!(has(&one, 12) && has(&other, 23));
        // A maker has given up by then, even if it took half of the time to begin.
        assert!(LATEST * 2 <= WATCHED);
    }

    #[test]
    fn what_this_process_does_not_use_is_left_over_at_once() {
        let leftovers = Leftovers::default();
        let [own, other] = [1, 1].map(|version| Candidate::new(version).unwrap());
        leftovers.add(own.clone());
        assert!(leftovers.has(&own) && !leftovers.has(&other));
    }
}
