//! Callers that keep a peer busy while something happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// How long nothing may be done.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tasks that do the same again and again until they are told to stop.
pub struct Callers {
    tasks: JoinSet<()>,
    number: usize,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Callers {
    /// As many tasks as `number`, each of which does `work` with its own number. What fails in it panics.
    pub fn start<F>(number: usize, work: impl Fn(usize) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for task in 0..number {
            let (work, stop, done) = (work.clone(), Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    work(task).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { tasks, number, stop, done }
    }

    /// Waits until each task can have done it once more.
    ///
    /// # Panics
    /// If they don't go on.
    pub async fn go_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        let begun = Instant::now();
        while self.done.load(Ordering::Relaxed) < before + 2 * self.number {
            assert!(begun.elapsed() < PATIENCE, "nothing is done any more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every task ends without one failure.
    ///
    /// # Panics
    /// If one of them has.
    pub async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}
