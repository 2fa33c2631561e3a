//! A circuit breaker: a backend that fails again and again is left alone for a while, so that its
//! callers learn at once what they would learn too late.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::metrics::Gauge;

/// After so many failures in a row the breaker opens.
const FAILURES: u32 = 5;

/// How long it stays open the first time; twice as long after each probe that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Stands before one backend.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    /// Where it can be seen from outside.
    seen: Gauge,
}

#[derive(Debug)]
enum State {
    /// Requests go through; so many in a row have failed.
    Closed { failures: u32 },
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
    /// One request is under way to see whether the backend is back.
    HalfOpen,
    /// Requests are refused for a while.
    Open,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl State {
    fn look(&self) -> BreakerState {
        match self {
            Self::Closed { .. } => BreakerState::Closed,
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
    pub(crate) fn new(seen: Gauge) -> Self {
        let state = State::default();
        seen.set(state.look().number());
        Self { state: Mutex::new(state), seen }
    }

    /// Whether a request may go through; if not, how long it will be until one may. Whoever goes through
    /// says afterwards how it went.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => Ok(()),
            State::Open { until, pause } if until <= now => {
                *state = State::Probing { pause };
                self.show(&state);
                Ok(())
            }
            State::Open { until, .. } => Err(until - now),
            State::Probing { pause } => Err(pause),
        }
    }

    /// A request has ended: with an answer, or with a failure of the backend as such.
    pub(crate) fn ended(&self, failed: bool, now: Instant) {
        let mut state = self.state();
        *state = match (&*state, failed) {
            (State::Closed { failures }, true) if failures + 1 >= FAILURES => {
                State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE }
            }
            (State::Closed { failures }, true) => State::Closed { failures: failures + 1 },
            (State::Probing { pause }, true) => {
                let pause = (*pause * 2).min(LONGEST_PAUSE);
                State::Open { until: now + pause, pause }
            }
            // What was under way when it opened, and failed too.
            (State::Open { until, pause }, true) => State::Open { until: *until, pause: *pause },
            (_, false) => State::default(),
        };
        self.show(&state);
    }

    /// A request was given up without an answer. A probe says nothing then: the next one probes again.
    pub(crate) fn given_up(&self, now: Instant) {
        let mut state = self.state();
        if let State::Probing { pause } = *state {
            *state = State::Open { until: now, pause };
            self.show(&state);
        }
    }

    pub(crate) fn look(&self) -> BreakerState {
        self.state().look()
    }

    fn show(&self, state: &State) {
        self.seen.set(state.look().number());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new(Gauge::noop());
        for _ in 0..FAILURES {
            breaker.admit(now).unwrap();
            breaker.ended(true, now);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_alone() {
        let (now, breaker) = (Instant::now(), Breaker::new(Gauge::noop()));
        for _ in 0..3 {
            for _ in 1..FAILURES {
                breaker.ended(true, now);
            }
            breaker.ended(false, now);
        }
        assert_eq!(breaker.look(), BreakerState::Closed);
        assert_eq!(opened(now).look(), BreakerState::Open);
        assert_eq!(opened(now).admit(now), Err(FIRST_PAUSE));
    }

    #[test]
    fn one_probe_decides() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.look(), BreakerState::HalfOpen);
        assert!(breaker.admit(later).is_err(), "two probes at once");
        breaker.ended(true, later);
        assert_eq!(breaker.admit(later), Err(FIRST_PAUSE * 2));
        let later = later + FIRST_PAUSE * 2;
        assert_eq!(breaker.admit(later), Ok(()));
        breaker.ended(false, later);
        assert_eq!(breaker.look(), BreakerState::Closed);
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn a_probe_that_nobody_waits_for_is_made_again() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + FIRST_PAUSE;
        breaker.admit(later).unwrap();
        breaker.given_up(later);
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut now = Instant::now();
        let breaker = opened(now);
        for _ in 0..20 {
            let pause = breaker.admit(now).unwrap_err();
            assert!(pause <= LONGEST_PAUSE);
            now += pause;
            breaker.admit(now).unwrap();
            breaker.ended(true, now);
        }
        assert_eq!(breaker.admit(now), Err(LONGEST_PAUSE));
    }
}
