//! Spawning of the framework's tasks, with their names and spans.

#![allow(
    unexpected_cfgs,
    reason = "`tokio_unstable` is set by whoever builds with tokio's unstable parts"
)]

use std::future::Future;

use tokio::{runtime::Handle, task::JoinHandle};

/// Spawns `future` on `runtime` under `name`.
pub(crate) fn spawn<F>(runtime: &Handle, name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(feature = "instrumentation")]
    let future = tracing::Instrument::instrument(future, tracing::info_span!("task", name));

    #[cfg(all(tokio_unstable, feature = "tokio-task-names"))]
    {
        // The builder takes the future's size into account; its only error is a runtime that has
        // been built without the unstable parts, which the same cfg rules out.
        #[expect(clippy::expect_used, reason = "see above")]
        tokio::task::Builder::new()
            .name(name)
            .spawn_on(future, runtime)
            .expect("a runtime with named tasks")
    }
    #[cfg(not(all(tokio_unstable, feature = "tokio-task-names")))]
    {
        let _ = name;
        runtime.spawn(future)
    }
}
