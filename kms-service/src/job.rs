//! A piece of work with its reply channel: done, dropped, or refused, but always answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::Span;

use crate::KmsError;
use crate::counters::CounterSet;
use crate::message::Reply;
use crate::registry::Usable;

/// What a lane does.
pub(crate) trait Job: Send {
    /// Does the work on this thread and answers. `stopped` says whether the lane has been closed.
    fn run(self: Box<Self>, stopped: &dyn Fn() -> bool);

    /// Answers with an error instead.
    fn refuse(self: Box<Self>, error: KmsError);
}

/// What a piece of work carries along, whoever does it.
pub(crate) struct Ticket<T> {
    pub(crate) deadline: Instant,
    pub(crate) span: Span,
    pub(crate) counters: Arc<CounterSet>,
    /// The keys that are used; each must still be active when the answer is given out.
    pub(crate) keys: Vec<Usable>,
    pub(crate) reply: Reply<T>,
}

impl<T> Ticket<T> {
    /// Gives out `answer` – or, if a key was disabled meanwhile, that instead of what was made.
    pub(crate) fn answer(self, answer: Result<T, KmsError>) {
        let Self { mut keys, reply, .. } = self;
        // Each gate once: whoever waits to close it lets nobody in any more, also not somebody who is
        // inside already, and each would wait for the other.
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        keys.dedup_by(|a, b| a.id == b.id);
        let inside: Result<Vec<_>, _> = keys.iter().map(|key| key.gate.enter(&key.id)).collect();
        // A caller that has gone since doesn't want to know.
        drop(match inside {
            Ok(_inside) => reply.send(answer),
            Err(closed) => reply.send(Err(closed)),
        });
    }

    /// Why the work shouldn't be begun any more, counted.
    pub(crate) fn is_void(&self) -> Option<KmsError> {
        if self.reply.is_closed() {
            self.counters.abandoned.increment();
            Some(KmsError::AnswerLost)
        } else if self.deadline <= Instant::now() {
            self.counters.expired.increment();
            Some(KmsError::DeadlineExceeded)
        } else {
            None
        }
    }
}

/// Work for a lane.
pub(crate) struct Task<T, F> {
    ticket: Ticket<T>,
    work: F,
}

impl<T, F> Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Interrupt<'_>) -> Result<T, KmsError> + Send + 'static,
{
    pub(crate) fn boxed(ticket: Ticket<T>, work: F) -> Box<dyn Job> {
        Box::new(Self { ticket, work })
    }
}

/// Asked by work that has several steps, between them.
pub(crate) struct Interrupt<'a>(&'a dyn Fn() -> Option<KmsError>);

impl Interrupt<'_> {
    /// Why the rest shouldn't be done any more.
    pub(crate) fn check(&self) -> Result<(), KmsError> {
        (self.0)().map_or(Ok(()), Err)
    }
}

impl<T, F> Job for Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Interrupt<'_>) -> Result<T, KmsError> + Send + 'static,
{
    fn run(self: Box<Self>, stopped: &dyn Fn() -> bool) {
        let Self { ticket, work } = *self;
        let span = ticket.span.clone();
        let _inside = span.enter();
        if let Some(void) = ticket.is_void() {
            tracing::debug!(reason = %void, "dropped before it was begun");
            return ticket.answer(Err(void));
        }
        let interrupt = || {
            if stopped() {
                Some(KmsError::Stopped)
            } else if ticket.reply.is_closed() {
                Some(KmsError::AnswerLost)
            } else {
                (ticket.deadline <= Instant::now()).then_some(KmsError::DeadlineExceeded)
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&Interrupt(&interrupt))));
        let answer = outcome.unwrap_or_else(|_| {
            ticket.counters.panics.increment();
            tracing::error!("a signer or operator panicked; the request was given up");
            Err(KmsError::Internal)
        });
        ticket.answer(answer);
    }

    fn refuse(self: Box<Self>, error: KmsError) {
        if matches!(error, KmsError::Overloaded { .. }) {
            self.ticket.counters.overloaded.increment();
        }
        self.ticket.answer(Err(error));
    }
}
