//! How the other side is, asked in the background.

use std::time::Duration;

use kms_backend::{Health, HealthLevel};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Asks again and again how the other side is, and keeps the last answer. Ends when it is dropped.
#[derive(Debug)]
pub struct HealthWatch {
    last: watch::Receiver<Health>,
    task: JoinHandle<()>,
}

impl HealthWatch {
    /// Asks by `probe` now, and then every `interval`, on the runtime that this is called on. A probe
    /// that takes longer than `patience` counts as [`HealthLevel::Failed`].
    pub async fn start<P, F>(interval: Duration, patience: Duration, probe: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Health> + Send,
    {
        let ask = move || {
            let answer = probe();
            async move {
                tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
                    let reason = format!("no answer within {patience:?} when asked how it is");
                    Health::new(HealthLevel::Failed, reason)
                })
            }
        };
        let (sender, last) = watch::channel(ask().await);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let health = ask().await;
                sender.send_replace(health);
            }
        });
        Self { last, task }
    }

    /// The last answer. Doesn't wait.
    #[must_use]
    pub fn last(&self) -> Health {
        self.last.borrow().clone()
    }

    /// Asks no more, and waits until a probe that is under way has been given up.
    pub async fn close(&self) {
        self.task.abort();
        // The task has the sender to its end.
        let mut last = self.last.clone();
        while last.changed().await.is_ok() {}
    }
}

impl Drop for HealthWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_answer_is_kept_until_the_next_one() {
        let asked = Arc::new(AtomicUsize::new(0));
        let probe = {
            let asked = Arc::clone(&asked);
            move || {
                let time = asked.fetch_add(1, Ordering::SeqCst);
                async move {
                    match time {
                        0 => Health::ok(),
                        1 => Health::new(HealthLevel::Degraded, "sealed"),
                        _ => std::future::pending().await,
                    }
                }
            }
        };
        let watch =
            HealthWatch::start(Duration::from_secs(10), Duration::from_secs(1), probe).await;
        assert_eq!(watch.last(), Health::ok());
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!((watch.last(), asked.load(Ordering::SeqCst)), (Health::ok(), 1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(watch.last().level, HealthLevel::Degraded);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(watch.last().level, HealthLevel::Failed);
        watch.close().await;
        assert_eq!(watch.last().level, HealthLevel::Failed);
        let before = asked.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(asked.load(Ordering::SeqCst), before);
    }
}
