//! A piece of work with its reply channel: done, dropped, or refused, but always answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use kms_secrets::opening_time;
use tracing::Span;

use crate::KmsError;
use crate::counters::CounterSet;
use crate::registry::Usable;
use crate::reply::Reply;

/// What a lane does.
pub(crate) trait Job: Send {
    /// Does the work on this thread. `stopped` says whether the lane has been closed.
    fn run(&mut self, stopped: &dyn Fn() -> bool);

    /// Gives out what came of the work.
    fn answer(self: Box<Self>);

    /// Answers with an error instead.
    fn refuse(self: Box<Self>, error: KmsError);
}

/// What a piece of work carries along, whoever does it.
pub(crate) struct Ticket<T> {
    pub(crate) deadline: Instant,
    pub(crate) span: Span,
    pub(crate) counters: Arc<CounterSet>,
    /// The keys that are used; each must still be active when the answer is given out.
    pub(crate) keys: Keys,
    pub(crate) reply: Reply<T>,
}

/// The keys that a piece of work uses.
pub(crate) enum Keys {
    /// As a rule one.
    One(Usable),
    /// An aggregate's.
    Many(Vec<Usable>),
}

impl Keys {
    fn as_slice(&self) -> &[Usable] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}

impl<T> Ticket<T> {
    /// Gives out `answer` – or, if a key was disabled meanwhile, that instead of what was made.
    pub(crate) fn answer(self, answer: Result<T, KmsError>) {
        let Self { keys, reply, .. } = self;
        match keys {
            Keys::One(key) => match key.gate.enter(&key.id) {
                Ok(_inside) => reply.send(answer),
                Err(closed) => reply.send(Err(closed)),
            },
            Keys::Many(mut keys) => {
                // Each gate once: whoever waits to close it lets nobody in any more, also not somebody
                // who is inside already, and each would wait for the other.
                keys.sort_by(|a, b| a.id.cmp(&b.id));
                keys.dedup_by(|a, b| a.id == b.id);
                let inside = keys.iter().map(|key| key.gate.enter(&key.id));
                match inside.collect::<Result<Vec<_>, _>>() {
                    Ok(_inside) => reply.send(answer),
                    Err(closed) => reply.send(Err(closed)),
                }
            }
        }
    }

    /// Answers with an error, and counts it if it is for want of room.
    pub(crate) fn refuse(self, error: KmsError) {
        if matches!(error, KmsError::Overloaded { .. }) {
            self.counters.overloaded.increment();
        }
        self.answer(Err(error));
    }

    /// Why work that was begun shouldn't go on.
    pub(crate) fn interruption(&self, stopped: &dyn Fn() -> bool) -> Option<KmsError> {
        if stopped() {
            Some(KmsError::Stopped)
        } else if self.reply.is_closed() {
            Some(KmsError::AnswerLost)
        } else {
            (self.deadline <= Instant::now()).then_some(KmsError::DeadlineExceeded)
        }
    }

    /// Why the work shouldn't be begun any more, counted.
    pub(crate) fn is_void(&self, now: Instant) -> Option<KmsError> {
        if self.reply.is_closed() {
            self.counters.abandoned.increment();
            Some(KmsError::AnswerLost)
        } else if self.deadline <= now {
            self.counters.expired.increment();
            Some(KmsError::DeadlineExceeded)
        } else {
            None
        }
    }

    /// The same, also for keys that were disabled since; work that isn't void has begun.
    pub(crate) fn begin(&self, now: Instant) -> Result<(), KmsError> {
        if let Some(void) = self.is_void(now) {
            return Err(void);
        }
        self.keys.as_slice().iter().try_for_each(|key| key.gate.enter(&key.id).map(drop))?;
        self.reply.begun(now);
        Ok(())
    }
}

/// Runs foreign code so that its panic is an error of this one request, and a counter.
pub(crate) fn caught<T>(
    counters: &CounterSet,
    work: impl FnOnce() -> Result<T, KmsError>,
) -> Result<T, KmsError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        counters.panics.increment();
        tracing::error!("a signer or operator panicked; the request was given up");
        Err(KmsError::Internal)
    })
}

/// Work for a lane.
pub(crate) struct Task<T, F> {
    ticket: Ticket<T>,
    /// Taken out when it is done.
    work: Option<F>,
    /// What came of it. Until then, that nothing did.
    outcome: Result<T, KmsError>,
}

impl<T, F> Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Interrupt<'_>) -> Result<T, KmsError> + Send + 'static,
{
    pub(crate) fn boxed(ticket: Ticket<T>, work: F) -> Box<dyn Job> {
        Box::new(Self { ticket, work: Some(work), outcome: Err(KmsError::AnswerLost) })
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
    fn run(&mut self, stopped: &dyn Fn() -> bool) {
        let Some(work) = self.work.take() else { return };
        let ticket = &self.ticket;
        let _inside = ticket.span.enter();
        let begun = Instant::now();
        if let Err(void) = ticket.begin(begun) {
            tracing::debug!(reason = %void, "dropped before it was begun");
            self.outcome = Err(void);
            return;
        }
        let interrupt = || ticket.interruption(stopped);
        let opened = opening_time();
        self.outcome = caught(&ticket.counters, || work(&Interrupt(&interrupt)));
        ticket.reply.done(begun, opening_time() - opened);
    }

    fn answer(self: Box<Self>) {
        self.ticket.answer(self.outcome);
    }

    fn refuse(self: Box<Self>, error: KmsError) {
        self.ticket.refuse(error);
    }
}
