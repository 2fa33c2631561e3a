//! Requests and what they were answered. Looking at them is no event: nothing comes between.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use crate::KmsError;

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// With so many signatures.
    Signed(usize),
    /// With this instead, by its text.
    Refused(String),
    /// Its reply was dropped.
    Lost,
}

/// Looks for the answer, or waits for it.
type Look = Box<dyn FnMut(Option<&mut Context<'_>>) -> Option<Answer> + Send>;

/// All requests of a scenario, in the order in which they were sent.
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<One>>>);

struct One {
    key: String,
    look: Look,
    answer: Option<Answer>,
}

impl Asked {
    /// Takes in a request for signatures of `key`; `count` counts those in its answer.
    pub(crate) fn add<T: Send + 'static>(
        &self,
        key: &str,
        mut receiver: Receiver<Result<T, KmsError>>,
        count: fn(&T) -> usize,
    ) -> usize {
        let answer = move |answer: Result<T, KmsError>| match answer {
            Ok(given) => Answer::Signed(count(&given)),
            Err(error) => Answer::Refused(error.to_string()),
        };
        let look: Look = Box::new(move |context| match context {
            Some(context) => match Pin::new(&mut receiver).poll(context) {
                Poll::Ready(given) => Some(given.map_or(Answer::Lost, answer)),
                Poll::Pending => None,
            },
            None => match receiver.try_recv() {
                Ok(given) => Some(answer(given)),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Closed) => Some(Answer::Lost),
            },
        });
        let mut all = self.all();
        all.push(One { key: key.to_owned(), look, answer: None });
        all.len() - 1
    }

    /// Waits for the answer of a request.
    pub(crate) fn wait(&self, number: usize) {
        shuttle::future::block_on(poll_fn(|context| {
            match self.all()[number].look(Some(context)) {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending,
            }
        }));
    }

    /// Waits until every request has its answer. Those whose reply is lost have none.
    pub fn wait_for_all(&self) {
        let count = self.all().len();
        (0..count).for_each(|number| self.wait(number));
    }

    /// The requests that have signatures of `key` by now.
    #[must_use]
    pub fn signed(&self, key: &str) -> BTreeSet<usize> {
        let mut all = self.all();
        let of_key = all.iter_mut().enumerate().filter(|(_, one)| one.key == key);
        of_key
            .filter_map(|(number, one)| match one.look(None) {
                Some(Answer::Signed(count)) if *count > 0 => Some(number),
                _ => None,
            })
            .collect()
    }

    /// Expects that every request was answered.
    ///
    /// # Panics
    /// If one was not.
    pub fn all_answered(&self) {
        for (number, one) in self.all().iter_mut().enumerate() {
            let answer = one.look(None);
            assert!(
                !matches!(answer, None | Some(Answer::Lost)),
                "request {number} was not answered: {answer:?}"
            );
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<One>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl One {
    fn look(&mut self, context: Option<&mut Context<'_>>) -> Option<&Answer> {
        if self.answer.is_none() {
            self.answer = (self.look)(context);
        }
        self.answer.as_ref()
    }
}
