//! The way back to the caller. Whatever becomes of a request is told here, so here it is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::KmsError;
use crate::metrics::{ABANDONED, Meter, outcome};
use crate::sync::oneshot::{self, Receiver, Sender};

/// Where the answer goes. When it is dropped without one, the caller gets
/// [`KmsError::AnswerLost`].
pub(crate) struct Reply<T> {
    /// Taken by the answer.
    sender: Option<Sender<Result<T, KmsError>>>,
    sent: Instant,
    /// `None` until the service has come to the request.
    meter: Option<Arc<Meter>>,
}

impl<T> Reply<T> {
    /// A reply, and where the caller waits for it.
    pub(crate) fn channel() -> (Self, Receiver<Result<T, KmsError>>) {
        let (sender, answer) = oneshot::channel();
        (Self { sender: Some(sender), sent: Instant::now(), meter: None }, answer)
    }

    /// When the request was sent.
    pub(crate) fn sent(&self) -> Instant {
        self.sent
    }

    /// Has the request counted by `meter`.
    pub(crate) fn observe(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// The work was begun, just now.
    pub(crate) fn begun(&self, now: Instant) {
        if let Some(meter) = &self.meter {
            meter.queued(now.saturating_duration_since(self.sent));
        }
    }

    /// The work that was begun then has ended. For so long of it, secrets were opened.
    pub(crate) fn done(&self, begun: Instant, opening: Duration) {
        if let Some(meter) = &self.meter {
            meter.signed(begun.elapsed(), opening);
        }
    }

    /// Answers. A caller that has gone since doesn't want to know.
    pub(crate) fn send(mut self, answer: Result<T, KmsError>) {
        self.count(outcome(&answer));
        if let Some(sender) = self.sender.take() {
            drop(sender.send(answer));
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.as_ref().is_none_or(Sender::is_closed)
    }

    /// Waits until nobody waits for the answer any more. Cancel-safe.
    pub(crate) async fn closed(&mut self) {
        if let Some(sender) = &mut self.sender {
            sender.closed().await;
        }
    }

    /// Counted before the caller learns of it, so that it never sees less than has happened.
    fn count(&self, outcome: &'static str) {
        if let Some(meter) = &self.meter {
            meter.answered(if self.is_closed() { ABANDONED } else { outcome });
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if self.sender.is_some() {
            self.count(outcome::<T>(&Err(KmsError::AnswerLost)));
        }
    }
}
