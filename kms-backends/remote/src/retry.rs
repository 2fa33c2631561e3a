//! How long to wait before something is tried again.

use std::time::Duration;

use kms_backend::{BackendError, Request};
use tokio::time::Instant;

use crate::RetrySettings;

/// The pauses between tries.
#[derive(Clone, Debug)]
pub struct Pauses {
    next: Duration,
    longest: Duration,
    /// How many more tries there may be.
    left: usize,
    jitter: bool,
}

impl Pauses {
    /// The pauses that settings ask for: each twice as long as the one before, with jitter.
    #[must_use]
    pub fn new(settings: &RetrySettings) -> Self {
        Self {
            next: settings.first.min(settings.longest),
            longest: settings.longest,
            left: settings.limit.saturating_sub(1),
            jitter: true,
        }
    }

    /// The pauses while a new key isn't usable yet: 100 ms, doubling to 10 s, for 20 tries.
    #[must_use]
    pub fn for_a_new_key() -> Self {
        Self {
            next: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            left: 19,
            jitter: false,
        }
    }

    /// Waits before the next try, at least as long as `error` asks for.
    ///
    /// # Errors
    /// `error` itself and at once, if there is to be no other try: it can't help, there were enough, or
    /// the pause would outlast the request's deadline ([`Request::deadline`]).
    pub async fn wait(&mut self, error: BackendError) -> Result<(), BackendError> {
        if !error.is_retryable() {
            return Err(error);
        }
        let asked_for = match &error {
            BackendError::Throttled { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if self.pause(asked_for).await { Ok(()) } else { Err(error) }
    }

    /// Waits for the next pause, and at least for `at_least`. `false` and at once if there is to be no
    /// other try.
    pub async fn pause(&mut self, at_least: Duration) -> bool {
        if self.left == 0 {
            return false;
        }
        let pause = self.shortened(self.next).max(at_least);
        let Some(end) = Instant::now().checked_add(pause) else { return false };
        if Request::current().is_some_and(|request| request.deadline() <= end.into_std()) {
            return false;
        }
        self.left -= 1;
        self.next = self.next.saturating_mul(2).min(self.longest);
        tokio::time::sleep_until(end).await;
        true
    }

    /// Between half of the pause and all of it: many that failed at once don't come back at once.
    fn shortened(&self, pause: Duration) -> Duration {
        if !self.jitter {
            return pause;
        }
        // Without randomness there is no jitter, and no harm.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use kms_backend::Failure;

    use super::*;

    fn throttled(retry_after: Option<Duration>) -> BackendError {
        BackendError::Throttled { failure: Failure::new("slow down"), retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_end() {
        let settings = RetrySettings {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(4),
            limit: 5,
        };
        let mut pauses = Pauses::new(&settings);
        for expected in [1, 2, 4, 4] {
            let begun = Instant::now();
            assert!(pauses.pause(Duration::ZERO).await);
            let (took, expected) = (begun.elapsed(), Duration::from_secs(expected));
            assert!(
                took >= expected / 2 && took <= expected + Duration::from_millis(2),
                "{took:?}"
            );
        }
        let begun = Instant::now();
        assert!(!pauses.pause(Duration::ZERO).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_key_is_waited_for_twenty_times() {
        let (mut pauses, begun, mut tries) = (Pauses::for_a_new_key(), Instant::now(), 1);
        while pauses.pause(Duration::ZERO).await {
            tries += 1;
        }
        assert_eq!(tries, 20);
        // 0.1 + 0.2 + … + 6.4, then twelve times ten.
        let took = begun.elapsed().as_secs_f64();
        assert!((132.7..133.0).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_when_to_come_back_is_heard() {
        let mut pauses = Pauses::new(&RetrySettings::default());
        let begun = Instant::now();
        pauses.wait(throttled(Some(Duration::from_secs(30)))).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(30));
        let begun = Instant::now();
        pauses.wait(throttled(None)).await.unwrap();
        assert!(begun.elapsed() <= Duration::from_millis(1002));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_help_is_not_waited_for() {
        let begun = Instant::now();
        let mut pauses = Pauses::new(&RetrySettings::default());
        let denied = BackendError::Denied(Failure::new("no"));
        assert!(matches!(pauses.wait(denied).await, Err(BackendError::Denied(_))));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_outlasts_the_deadline_is_not_begun() {
        let mut pauses = Pauses::new(&RetrySettings::default());
        let begun = Instant::now();
        let in_a_second = (begun + Duration::from_secs(1)).into_std();
        let request = Request::until(in_a_second);
        let waited = request.scope(async {
            pauses.wait(throttled(None)).await?;
            pauses.wait(throttled(Some(Duration::from_secs(1)))).await
        });
        assert!(matches!(waited.await, Err(BackendError::Throttled { .. })));
        assert!(begun.elapsed() <= Duration::from_millis(502), "{:?}", begun.elapsed());
    }
}
