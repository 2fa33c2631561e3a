//! Until when the answer to a request is worth having.

use std::future::Future;
use std::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Runs `work`, which belongs to a request with this deadline: whatever it asks [`current`] for then
/// learns it. Doesn't end `work` itself.
pub async fn within<F: Future>(deadline: Instant, work: F) -> F::Output {
    DEADLINE.scope(deadline, work).await
}

/// The deadline of the request that the calling task works for. `None` if nobody has said one, also in
/// tasks that were spawned meanwhile. A backend that would wait beyond it may as well give up.
#[must_use]
pub fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_deadline_is_known_inside_alone() {
        let deadline = Instant::now();
        assert_eq!(current(), None);
        assert_eq!(within(deadline, async { current() }).await, Some(deadline));
        assert_eq!(current(), None);
    }
}
