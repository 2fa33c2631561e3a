//! The signal that says that what was asked for is done.
//!
//! A [`Sender`] that is dropped without a signal says that it failed.

use tokio::sync::oneshot;

/// What is sent: nothing but the fact.
pub type Signal = ();

/// The side that reports.
pub type Sender = oneshot::Sender<Signal>;

/// The side that waits.
pub type Receiver = oneshot::Receiver<Signal>;

/// Makes the two sides of one signal.
#[must_use]
pub fn channel() -> (Sender, Receiver) {
    oneshot::channel()
}
