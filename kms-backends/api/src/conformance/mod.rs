//! The contract of a backend, as checks.
//!
//! A backend's tests make a [`Fixture`] – settings, and a few hooks to put keys there and to damage
//! them – and call [`run`]. Every check runs in a task of its own with a time limit, so that a
//! backend that panics or waits for ever fails that check and no other. The [`Report`] prints how
//! many checks of each kind ran:
//!
//! ```text
//! conformance: 61 run, 4 not applicable: register 18, sign 21, reopen 6, ...
//! ```

mod deletion;
mod derive;
mod fixture;
mod lifecycle;
mod list;
mod missing;
mod operations;
mod register;
mod reopen;
mod report;
mod sign;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

pub use fixture::{Fixture, Provisioned};
pub use report::{CheckFailure, CheckKind, Report};

use crate::{Backend, BackendSettings};

/// Runs every check that the fixture's capabilities make applicable, each for no longer than
/// `limit`. Needs a multi-thread tokio runtime.
pub async fn run<F: Fixture>(fixture: F, limit: Duration) -> Report {
    let mut suite = Suite { fixture: Arc::new(fixture), limit, report: Report::default() };
    register::checks(&mut suite).await;
    sign::checks(&mut suite).await;
    missing::checks(&mut suite).await;
    reopen::checks(&mut suite).await;
    list::checks(&mut suite).await;
    lifecycle::checks(&mut suite).await;
    deletion::checks(&mut suite).await;
    derive::checks(&mut suite).await;
    operations::checks(&mut suite).await;
    suite.report
}

/// What a check says of a backend that breaks the contract.
type Verdict = Result<(), String>;

struct Suite<F> {
    fixture: Arc<F>,
    limit: Duration,
    report: Report,
}

impl<F: Fixture> Suite<F> {
    /// Runs one check.
    async fn check<Fut>(
        &mut self,
        kind: CheckKind,
        name: impl Into<String>,
        check: impl FnOnce(Arc<F>) -> Fut,
    ) where
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        let task = AssertUnwindSafe(check(Arc::clone(&self.fixture))).catch_unwind();
        let mut task = tokio::spawn(task);
        let verdict = match tokio::time::timeout(self.limit, &mut task).await {
            Ok(Ok(Ok(verdict))) => verdict,
            Ok(Ok(Err(panic))) => Err(format!("panicked: {}", panic_text(&*panic))),
            Ok(Err(join)) => Err(format!("ended without an answer: {join}")),
            Err(_) => {
                task.abort();
                Err(format!("no answer within {:?}", self.limit))
            }
        };
        self.report.record(kind, name.into(), verdict);
    }

    /// Notes that a check makes no sense for this backend.
    fn not_applicable(&mut self, kind: CheckKind, name: impl Into<String>) {
        self.report.skip(kind, name.into());
    }
}

async fn open<F: Fixture>(fixture: &F) -> Result<Arc<dyn Backend>, String> {
    let opened = fixture.settings().open(&fixture.context()).await;
    opened.map_err(|error| format!("can't be opened: {}", chain(&error)))
}

fn chain(error: &crate::BackendError) -> String {
    crate::ErrorChain(error).to_string()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text")
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise()) }
}
