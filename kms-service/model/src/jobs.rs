//! Lanes alone, with jobs that say what became of them.

use std::sync::{Arc, Mutex, PoisonError};

use kms_keys::KeyType;
use shuttle::sync::mpsc::{Receiver, Sender, channel};

use crate::job::Job;
use crate::lane;
use crate::outbox::Deliver;
use crate::sync::thread;
use crate::{Caller, KmsError, Threads};

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was done.
    Done,
    /// The lane was closed.
    Stopped,
    /// There was no room.
    Overloaded,
    /// A panic took it along, whose caller learns that the answer is lost.
    Lost,
}

/// Lanes with one kind of thread, and what became of every job.
#[derive(Clone)]
pub struct Lanes {
    lanes: Arc<lane::Lanes>,
    ends: Arc<Mutex<Vec<Vec<End>>>>,
    told: Sender<()>,
}

struct Counted {
    number: usize,
    weight: usize,
    panics: bool,
    ended: bool,
    lanes: Lanes,
}

impl Lanes {
    /// Lanes with so many threads, in which so many jobs may wait; and what hears of every end.
    #[must_use]
    pub fn new(threads: usize, capacity: usize) -> (Self, Receiver<()>) {
        let mut limits = Threads::default();
        (limits.cheap, limits.costly) = (Some(threads), Some(threads));
        let lanes = lane::Lanes::new(capacity, limits, &Arc::default(), elsewhere());
        let (told, ends) = channel();
        (Self { lanes: Arc::new(lanes), ends: Arc::default(), told }, ends)
    }

    /// Submits a job of so many signatures on behalf of `caller`.
    pub fn submit(&self, caller: &str, weight: usize, panics: bool) {
        let number = {
            let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            ends.push(Vec::new());
            ends.len() - 1
        };
        let job = Counted { number, weight, panics, ended: false, lanes: self.clone() };
        self.lanes.submit(KeyType::Ed25519, Caller::new(caller.to_owned()), 1, Box::new(job));
    }

    /// Wakes threads for what was submitted.
    pub fn call(&self) {
        self.lanes.call();
    }

    /// Closes the lanes.
    pub fn close(&self) {
        self.lanes.close();
    }

    /// What became of each job, in the order in which they were submitted.
    ///
    /// # Panics
    /// If one did not end just once.
    #[must_use]
    pub fn ends(&self) -> Vec<End> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let each = ends.iter().enumerate().map(|(number, ends)| {
            assert_eq!(ends.len(), 1, "job {number} ended so: {ends:?}");
            ends[0]
        });
        each.collect()
    }
}

/// What was done together is answered on a thread of its own.
pub(crate) fn elsewhere() -> Deliver {
    Box::new(|outbox| {
        shuttle::thread::spawn(move || outbox.give_next());
    })
}

impl Counted {
    fn end(&mut self, end: End) {
        self.ended = true;
        let mut ends = self.lanes.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends[self.number].push(end);
        drop(ends);
        // Whoever doesn't wait for it has gone.
        let _ = self.lanes.told.send(());
    }
}

impl Job for Counted {
    fn weight(&self) -> usize {
        self.weight
    }

    fn run(&mut self, number: usize, _: &dyn Fn() -> bool) {
        if self.panics {
            thread::panic();
        }
        self.weight -= number;
    }

    fn answer(mut self: Box<Self>) {
        self.end(End::Done);
    }

    fn refuse(mut self: Box<Self>, error: KmsError) {
        self.end(match error {
            KmsError::Stopped => End::Stopped,
            _ => End::Overloaded,
        });
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.ended {
            self.end(End::Lost);
        }
    }
}
