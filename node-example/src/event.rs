//! What the services tell the node's main task.

use std::error::Error;
use std::fmt;

use kms_backend::ErrorChain;
use kms_keys::KeyId;
use tokio::sync::mpsc;

use crate::block::Hash;

/// Something that a service tells the node's main task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A slot is over.
    Slot(SlotReport),
    /// A service can't go on.
    Failed(ServiceFailure),
}

/// What became of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// The slot, from 1 on.
    pub slot: u64,
    /// The hash of its block.
    pub hash: Hash,
    /// Who proposed the block.
    pub proposer: KeyId,
    /// How many keys attested to it.
    pub attesters: usize,
    /// Whether every signature verified.
    pub verified: bool,
    /// Microseconds from the slot's beginning until everything was verified.
    pub micros: u128,
}

/// Why a service can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFailure {
    /// Which service.
    pub service: &'static str,
    /// The key it is about, if it is about one.
    pub key: Option<String>,
    /// What went wrong, with its causes.
    pub cause: String,
}

/// Where services send events. Part of their settings, since settings are all that a service is
/// given from outside.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::UnboundedSender<Event>);

impl EventSender {
    /// A sender, and where its events arrive.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Sends an event. A main task that has ended doesn't want to know.
    pub fn send(&self, event: Event) {
        drop(self.0.send(event));
    }

    /// Tells that `service` can't go on, and gives the error back to be returned.
    pub fn fail(&self, service: &'static str, failure: KeyFailure) -> KeyFailure {
        let cause = ErrorChain(&*failure.cause).to_string();
        let key = failure.key.clone();
        self.send(Event::Failed(ServiceFailure { service, key, cause }));
        failure
    }
}

/// What a service's `run` ends with: an error, and the key it is about.
#[derive(Debug)]
pub struct KeyFailure {
    key: Option<String>,
    cause: Box<dyn Error + Send + Sync>,
}

impl KeyFailure {
    /// A failure that has to do with the key called `key`.
    pub fn of(key: &KeyId, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { key: Some(key.to_string()), cause: cause.into() }
    }

    /// A failure that has to do with no key in particular.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { key: None, cause: cause.into() }
    }
}

impl fmt::Display for KeyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "key {key} can't be used"),
            None => f.write_str("the service can't go on"),
        }
    }
}

impl Error for KeyFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}
