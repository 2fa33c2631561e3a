//! A circuit breaker: a backend that fails again and again is left alone for a while, so that its
//! callers learn at once what they would learn too late.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::metrics::Gauge;

/// After so many failures in a row the breaker opens.
const FAILURES: u32 = 5;

/// How long it stays open the first time; twice as long after each probe that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A backend that answers nothing for so long fails, however little patience each of its callers has.
const SILENCE: Duration = Duration::from_secs(1);

/// A caller that waited less than this says nothing about the backend.
const HURRY: Duration = Duration::from_millis(100);

/// Stands before one backend.
#[derive(Debug)]
pub(crate) struct Breaker {
    inner: Mutex<Inner>,
    /// Where it can be seen from outside.
    seen: Gauge,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// Counts the changes of state. What was admitted before the last one decides nothing any more.
    era: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Requests go through; so many in a row have failed, and since then none was answered.
    Closed { failures: u32, silent_since: Option<Instant> },
    /// None goes through until then.
    Open { until: Instant, pause: Duration },
    /// One is under way to see whether the backend is back.
    Probing { pause: Duration },
}

/// What a breaker is, for whoever looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BreakerState {
    /// Requests go through.
    Closed,
    /// The pause after a failure is over: one request is, or the next will be, under way to see whether the
    /// backend is back.
    HalfOpen,
    /// Requests are refused for a while.
    Open,
}

/// A request that was let through. Whoever has it says at the end how it went; who drops it instead has no
/// answer.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    era: u64,
    begun: Instant,
    told: bool,
}

impl Pass {
    /// The request has ended. If it was under way when the breaker changed its state, that doesn't change
    /// it again.
    pub(crate) fn ended(mut self, verdict: Verdict, now: Instant) {
        self.tell(verdict, now);
    }

    fn tell(&mut self, verdict: Verdict, now: Instant) {
        if !std::mem::replace(&mut self.told, true) {
            self.breaker.ended(self.era, self.begun, verdict, now);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.tell(Verdict::Unanswered, Instant::now());
    }
}

/// How a request ended, seen from its backend; the one that says most for the backend is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Without any answer, for as long as it was waited for.
    Unanswered,
    /// With a failure of the backend as such.
    Failed,
    /// With an answer, be it a refusal.
    Answered,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0, silent_since: None }
    }
}

impl State {
    fn look(&self, now: Instant) -> BreakerState {
        match self {
            Self::Closed { .. } => BreakerState::Closed,
            Self::Open { until, .. } if *until <= now => BreakerState::HalfOpen,
            Self::Open { .. } => BreakerState::Open,
            Self::Probing { .. } => BreakerState::HalfOpen,
        }
    }
}

impl BreakerState {
    /// Itself as a metric.
    fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

impl Breaker {
    /// A closed breaker that shows on `seen` what it is.
    pub(crate) fn new(seen: Gauge) -> Arc<Self> {
        let inner = Inner::default();
        seen.set(BreakerState::Closed.number());
        Arc::new(Self { inner: Mutex::new(inner), seen })
    }

    /// Whether a request may go through; if not, how long it will be until one may.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> Result<Pass, Duration> {
        let mut inner = self.inner();
        match inner.state {
            State::Closed { .. } => {}
            State::Open { until, pause } if until <= now => {
                self.change(&mut inner, State::Probing { pause }, now);
            }
            State::Open { until, .. } => return Err(until - now),
            State::Probing { pause } => return Err(pause),
        }
        Ok(Pass { breaker: Arc::clone(self), era: inner.era, begun: now, told: false })
    }

    fn ended(&self, era: u64, begun: Instant, verdict: Verdict, now: Instant) {
        let mut inner = self.inner();
        if era != inner.era {
            return;
        }
        match inner.state {
            State::Closed { failures, silent_since } => {
                let silent_since = silent_since.unwrap_or(begun);
                let failed = match verdict {
                    Verdict::Answered => return inner.state = State::default(),
                    Verdict::Failed => true,
                    Verdict::Unanswered if now - begun < HURRY => return,
                    Verdict::Unanswered => now - silent_since >= SILENCE,
                };
                let failures = failures + u32::from(failed);
                if failures < FAILURES {
                    let silent_since = Some(silent_since);
                    inner.state = State::Closed { failures, silent_since };
                } else {
                    let (until, pause) = (now + FIRST_PAUSE, FIRST_PAUSE);
                    self.change(&mut inner, State::Open { until, pause }, now);
                }
            }
            State::Probing { pause } => {
                let pause = match verdict {
                    Verdict::Answered => return self.change(&mut inner, State::default(), now),
                    Verdict::Failed => (pause * 2).min(LONGEST_PAUSE),
                    // Whoever was to find out has gone.
                    Verdict::Unanswered => pause,
                };
                self.change(&mut inner, State::Open { until: now + pause, pause }, now);
            }
            // Nothing is let through in such an era.
            State::Open { .. } => {}
        }
    }

    /// What it is now, shown from outside as well: when a pause ends, nothing else shows it.
    pub(crate) fn look(&self) -> BreakerState {
        self.look_at(Instant::now())
    }

    fn look_at(&self, now: Instant) -> BreakerState {
        let inner = self.inner();
        let state = inner.state.look(now);
        self.seen.set(state.number());
        state
    }

    fn change(&self, inner: &mut Inner, state: State, now: Instant) {
        inner.state = state;
        inner.era += 1;
        self.seen.set(state.look(now).number());
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> Arc<Breaker> {
        Breaker::new(Gauge::noop())
    }

    fn fail(breaker: &Arc<Breaker>, now: Instant) {
        breaker.admit(now).unwrap().ended(Verdict::Failed, now);
    }

    fn opened(now: Instant) -> Arc<Breaker> {
        let breaker = closed();
        (0..FAILURES).for_each(|_| fail(&breaker, now));
        breaker
    }

    /// One request after the other that each waits for `patience`; how many until the breaker opens.
    fn until_it_opens(patience: Duration, at_most: u32) -> Option<u32> {
        let (mut now, breaker) = (Instant::now(), closed());
        for asked in 1..=at_most {
            let pass = breaker.admit(now).unwrap();
            now += patience;
            pass.ended(Verdict::Unanswered, now);
            if breaker.look_at(now) == BreakerState::Open {
                return Some(asked);
            }
        }
        None
    }

    #[test]
    fn it_opens_after_failures_in_a_row_alone() {
        let (now, breaker) = (Instant::now(), closed());
        for _ in 0..3 {
            (1..FAILURES).for_each(|_| fail(&breaker, now));
            breaker.admit(now).unwrap().ended(Verdict::Answered, now);
        }
        assert_eq!(breaker.look_at(now), BreakerState::Closed);
        assert_eq!(opened(now).look_at(now), BreakerState::Open);
        assert_eq!(opened(now).admit(now).err(), Some(FIRST_PAUSE));
    }

    #[test]
    fn silence_counts_however_little_patience_each_caller_has() {
        assert_eq!(until_it_opens(Duration::from_secs(2), 100), Some(FAILURES));
        // The first three have not waited for a second, taken together.
        assert_eq!(until_it_opens(Duration::from_millis(300), 100), Some(3 + FAILURES));
        assert_eq!(until_it_opens(Duration::from_millis(50), 100), None);
    }

    #[test]
    fn an_answer_ends_the_silence() {
        let (mut now, breaker) = (Instant::now(), closed());
        for _ in 0..100 {
            let (hurried, patient) = (breaker.admit(now).unwrap(), breaker.admit(now).unwrap());
            now += Duration::from_millis(300);
            hurried.ended(Verdict::Unanswered, now);
            now += Duration::from_millis(300);
            patient.ended(Verdict::Answered, now);
        }
        assert_eq!(breaker.look_at(now), BreakerState::Closed);
    }

    #[test]
    fn one_probe_decides() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + FIRST_PAUSE;
        let probe = breaker.admit(later).unwrap();
        assert_eq!(breaker.look_at(later), BreakerState::HalfOpen);
        assert!(breaker.admit(later).is_err(), "two probes at once");
        probe.ended(Verdict::Failed, later);
        assert_eq!(breaker.admit(later).err(), Some(FIRST_PAUSE * 2));
        let later = later + FIRST_PAUSE * 2;
        breaker.admit(later).unwrap().ended(Verdict::Answered, later);
        assert_eq!(breaker.look_at(later), BreakerState::Closed);
        assert!(breaker.admit(later).is_ok());
    }

    #[test]
    fn what_was_under_way_before_decides_nothing() {
        let (now, breaker) = (Instant::now(), closed());
        let mut before = Vec::from_iter((0..4).map(|_| breaker.admit(now).unwrap()));
        (0..FAILURES).for_each(|_| fail(&breaker, now));
        let later = now + FIRST_PAUSE;
        let probe = breaker.admit(later).unwrap();
        for verdict in [Verdict::Answered, Verdict::Failed, Verdict::Unanswered] {
            before.pop().unwrap().ended(verdict, later);
            assert_eq!(breaker.look_at(later), BreakerState::HalfOpen, "{verdict:?}");
        }
        probe.ended(Verdict::Answered, later);
        before.pop().unwrap().ended(Verdict::Failed, later);
        assert_eq!(breaker.look_at(later), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_nobody_waits_for_is_made_again_after_the_same_pause() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + FIRST_PAUSE;
        breaker.admit(later).unwrap().ended(Verdict::Unanswered, later);
        assert_eq!(breaker.admit(later).err(), Some(FIRST_PAUSE));
        assert!(breaker.admit(later + FIRST_PAUSE).is_ok());
    }

    #[test]
    fn a_probe_that_is_dropped_is_made_again_too() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + FIRST_PAUSE;
        drop(breaker.admit(later).unwrap());
        assert_eq!(breaker.look_at(later), BreakerState::Open);
    }

    #[test]
    fn after_its_pause_it_is_half_open_though_nobody_asks() {
        let (now, moment) = (Instant::now(), Duration::from_nanos(1));
        let breaker = opened(now);
        assert_eq!(breaker.look_at(now + FIRST_PAUSE - moment), BreakerState::Open);
        assert_eq!(breaker.look_at(now + FIRST_PAUSE), BreakerState::HalfOpen);
        // Looking is not asking: the probe is still to be made.
        let probe = breaker.admit(now + FIRST_PAUSE).unwrap();
        probe.ended(Verdict::Failed, now + FIRST_PAUSE);
        let until = now + FIRST_PAUSE * 3;
        assert_eq!(breaker.look_at(until - moment), BreakerState::Open);
        assert_eq!(breaker.look_at(until), BreakerState::HalfOpen);
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut now = Instant::now();
        let breaker = opened(now);
        for _ in 0..20 {
            let pause = breaker.admit(now).unwrap_err();
            assert!(pause <= LONGEST_PAUSE);
            now += pause;
            fail(&breaker, now);
        }
        assert_eq!(breaker.admit(now).err(), Some(LONGEST_PAUSE));
    }
}
