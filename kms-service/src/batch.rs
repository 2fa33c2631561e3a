//! Many messages signed by one key, on several threads at once, with one answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::LocalSigner;
use kms_keys::{Signature, SigningScheme};
use kms_secrets::opening_time;
use tracing::Span;

use crate::KmsError;
use crate::counters::CounterSet;
use crate::job::{Job, Ticket, caught, weight};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// An outcome for each message of a request for many signatures.
pub(crate) type Outcomes = Vec<Result<Signature, KmsError>>;

/// A message, or why it can't be signed.
type Message = Result<Vec<u8>, KmsError>;

/// What the parts of a batch share.
struct Batch {
    signer: Arc<dyn LocalSigner>,
    scheme: SigningScheme,
    counters: Arc<CounterSet>,
    span: Span,
    progress: Mutex<Progress>,
}

struct Progress {
    /// Taken by whoever answers: the last part to end, or the first one that is refused.
    ticket: Option<Ticket<Outcomes>>,
    begun: bool,
    /// How long all threads together have worked on it, and spent of that on opening the secret.
    time: Duration,
    opening: Duration,
    /// The outcomes of each part, once it has ended.
    parts: Vec<Option<Outcomes>>,
    /// How many have not ended.
    left: usize,
    /// The outcomes of all, once the last has ended: put together there, for answers are given on the
    /// node's runtime.
    all: Outcomes,
}

/// Some of the messages of a batch.
struct Part {
    batch: Arc<Batch>,
    at: usize,
    messages: std::vec::IntoIter<Message>,
    outcomes: Outcomes,
}

/// Jobs that sign `messages` together, and answer `ticket` once; at most `parts`, of about the same size.
pub(crate) fn split(
    ticket: Ticket<Outcomes>,
    signer: &Arc<dyn LocalSigner>,
    scheme: SigningScheme,
    messages: Vec<Message>,
    parts: usize,
) -> Vec<Box<dyn Job>> {
    let size = messages.len().div_ceil(parts.max(1)).max(1);
    let mut rest = messages.into_iter();
    let mut split = Vec::new();
    loop {
        let part: Vec<_> = rest.by_ref().take(size).collect();
        if part.is_empty() && !split.is_empty() {
            break;
        }
        split.push(part);
        if rest.len() == 0 {
            break;
        }
    }
    let left = split.len();
    let (counters, span) = (Arc::clone(&ticket.counters), ticket.span.clone());
    let parts = (0..left).map(|_| None).collect();
    let progress = Mutex::new(Progress {
        ticket: Some(ticket),
        begun: false,
        time: Duration::ZERO,
        opening: Duration::ZERO,
        parts,
        left,
        all: Outcomes::new(),
    });
    let batch = Arc::new(Batch { signer: Arc::clone(signer), scheme, counters, span, progress });
    let jobs = split.into_iter().enumerate().map(|(at, messages)| -> Box<dyn Job> {
        let outcomes = Vec::with_capacity(messages.len());
        Box::new(Part { batch: Arc::clone(&batch), at, messages: messages.into_iter(), outcomes })
    });
    jobs.collect()
}

impl Job for Part {
    fn weight(&self) -> usize {
        self.messages.len()
    }

    fn is_divisible(&self) -> bool {
        true
    }

    fn run(&mut self, number: usize, stopped: &dyn Fn() -> bool) {
        let batch = Arc::clone(&self.batch);
        let _inside = batch.span.enter();
        batch.begin();
        let (begun, opened) = (Instant::now(), opening_time());
        let mut room = number;
        while room > 0
            && let Some(message) = self.messages.next()
        {
            room = room.saturating_sub(message.as_ref().map_or(1, |message| weight(message)));
            self.outcomes.push(batch.sign(message, stopped));
        }
        let mut progress = batch.progress();
        progress.time += begun.elapsed();
        progress.opening += opening_time() - opened;
        if self.messages.len() == 0 {
            progress.left -= 1;
            if let Some(part) = progress.parts.get_mut(self.at) {
                *part = Some(std::mem::take(&mut self.outcomes));
            }
            if progress.left == 0 {
                let parts = std::mem::take(&mut progress.parts);
                progress.all = parts.into_iter().flatten().flatten().collect();
            }
        }
    }

    fn answer(self: Box<Self>) {
        let mut progress = self.batch.progress();
        if progress.left > 0 {
            return;
        }
        let outcomes = std::mem::take(&mut progress.all);
        let (ticket, time, opening) = (progress.ticket.take(), progress.time, progress.opening);
        drop(progress);
        if let Some(ticket) = ticket {
            ticket.reply.done(time, opening);
            ticket.answer(Ok(outcomes));
        }
    }

    fn refuse(self: Box<Self>, error: KmsError) {
        let ticket = self.batch.progress().ticket.take();
        if let Some(ticket) = ticket {
            ticket.refuse(error);
        }
    }
}

impl Batch {
    /// Drops the whole batch if nobody wants it any more before any of it was begun.
    fn begin(&self) {
        let mut progress = self.progress();
        if std::mem::replace(&mut progress.begun, true) {
            return;
        }
        if let Some(Err(void)) = progress.ticket.as_ref().map(|ticket| ticket.begin(Instant::now()))
            && let Some(ticket) = progress.ticket.take()
        {
            drop(progress);
            tracing::debug!(reason = %void, "dropped before it was begun");
            ticket.answer(Err(void));
        }
    }

    fn sign(&self, message: Message, stopped: &dyn Fn() -> bool) -> Result<Signature, KmsError> {
        let message = message?;
        self.interruption(stopped).map_or(Ok(()), Err)?;
        caught(&self.counters, || {
            self.signer.sign(self.scheme, &message).map_err(KmsError::Backend)
        })
    }

    /// Why the rest shouldn't be signed any more.
    fn interruption(&self, stopped: &dyn Fn() -> bool) -> Option<KmsError> {
        match &self.progress().ticket {
            Some(ticket) => ticket.interruption(0, stopped),
            // The caller has been answered.
            None => Some(KmsError::AnswerLost),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
