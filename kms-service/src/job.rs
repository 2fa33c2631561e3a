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
    /// How many signatures there are still to make, or what takes about as long; 0 once all is done.
    fn weight(&self) -> usize;

    /// Whether it can be done a few signatures at a time.
    fn is_divisible(&self) -> bool {
        false
    }

    /// Makes up to `number` of them on this thread, or all where that is one piece of work. `stopped` says
    /// whether the lane has been closed.
    fn run(&mut self, number: usize, stopped: &dyn Fn() -> bool);

    /// Gives out what came of the work.
    fn answer(self: Box<Self>);

    /// Answers with an error instead.
    fn refuse(self: Box<Self>, error: KmsError);
}

/// The bytes that are hashed in less time than a cheap signature takes.
const HASHED_MEANWHILE: usize = 4096;

/// How many cheap signatures take about as long as one of this message, which is hashed for it.
pub(crate) fn weight(message: &[u8]) -> usize {
    1 + message.len() / HASHED_MEANWHILE
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

    /// Puts them in the order in which [`Ticket::answer`] needs them, each once: whoever waits to close a
    /// gate lets nobody in any more, also not somebody who is inside already, and each would wait for the
    /// other. Done before, it takes no time there.
    pub(crate) fn put_in_order(&mut self) {
        if let Self::Many(keys) = self {
            keys.sort_by(|a, b| a.id.cmp(&b.id));
            keys.dedup_by(|a, b| a.id == b.id);
        }
    }
}

impl<T> Ticket<T> {
    /// Gives out `answer` – or, if a key was disabled meanwhile, that instead of what was made.
    pub(crate) fn answer(self, answer: Result<T, KmsError>) {
        let Self { mut keys, reply, .. } = self;
        keys.put_in_order();
        match keys {
            Keys::One(key) => match key.gate.enter(&key.id) {
                Ok(_inside) => reply.send(answer),
                Err(closed) => reply.send(Err(closed)),
            },
            Keys::Many(keys) => {
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

    /// Why work that was begun shouldn't go on with the key in this place among the ticket's.
    pub(crate) fn interruption(&self, key: usize, stopped: &dyn Fn() -> bool) -> Option<KmsError> {
        let key = self.keys.as_slice().get(key);
        if let Some(closed) = key.and_then(|key| key.gate.enter(&key.id).err()) {
            Some(closed)
        } else if stopped() {
            Some(KmsError::Stopped)
        } else if self.deadline <= Instant::now() {
            Some(KmsError::DeadlineExceeded)
        } else {
            self.reply.is_closed().then_some(KmsError::AnswerLost)
        }
    }

    /// Why the work shouldn't be begun any more, counted.
    pub(crate) fn void(&self, now: Instant) -> Option<KmsError> {
        self.counters.void(self.deadline, now, self.reply.is_closed())
    }

    /// The same, also for keys that were disabled since; work that isn't void has begun.
    pub(crate) fn begin(&self, now: Instant) -> Result<(), KmsError> {
        if let Some(void) = self.void(now) {
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
    weight: usize,
    /// Taken out when it is done.
    work: Option<F>,
    /// What came of it. Until then, that nothing did.
    outcome: Result<T, KmsError>,
}

impl<T, F> Task<T, F>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, KmsError> + Send + 'static,
{
    pub(crate) fn boxed(ticket: Ticket<T>, weight: usize, work: F) -> Box<dyn Job> {
        Box::new(Self { ticket, weight, work: Some(work), outcome: Err(KmsError::AnswerLost) })
    }
}

impl<T, F> Job for Task<T, F>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, KmsError> + Send + 'static,
{
    fn weight(&self) -> usize {
        if self.work.is_some() { self.weight } else { 0 }
    }

    fn run(&mut self, _: usize, _: &dyn Fn() -> bool) {
        let Some(work) = self.work.take() else { return };
        let ticket = &self.ticket;
        let _inside = ticket.span.enter();
        let begun = Instant::now();
        if let Err(void) = ticket.begin(begun) {
            tracing::debug!(reason = %void, "dropped before it was begun");
            self.outcome = Err(void);
            return;
        }
        let opened = opening_time();
        self.outcome = caught(&ticket.counters, work);
        ticket.reply.done(begun.elapsed(), opening_time() - opened);
    }

    fn answer(self: Box<Self>) {
        self.ticket.answer(self.outcome);
    }

    fn refuse(self: Box<Self>, error: KmsError) {
        self.ticket.refuse(error);
    }
}
