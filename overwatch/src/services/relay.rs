//! The channel of messages to a service.
//!
//! There is one for the life of the node. Senders keep their side; the receiving side is lent to
//! each run of the service and comes home when that run drops it. So messages sent to a stopped
//! service wait for its next start.

use std::{
    any::Any,
    fmt::{self, Debug, Formatter},
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Sink, Stream, sink};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

/// A message of some type.
pub type AnyMessage = Box<dyn Any + Send>;

/// How long a start waits for the receiving side when the run before has given it to a task of
/// its own, which is only now being dropped.
const COMES_HOME_WITHIN: Duration = Duration::from_secs(5);

/// A relay could not be had or used.
// As upstream has it, so it grows only when upstream's does.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The other side is gone, so the message could not be sent.
    #[error("the message could not be sent: nobody will receive it")]
    Send,
    /// The relay is in use already.
    #[error("the relay is connected already")]
    AlreadyConnected,
    /// The answer could not be received.
    #[error("the relay could not be received: {0:?}")]
    Receiver(Box<dyn Debug + Send + Sync>),
}

/// The side of those who send. Clones send to the same service.
pub struct OutboundRelay<M> {
    sender: mpsc::Sender<M>,
}

impl<M> OutboundRelay<M> {
    /// A relay into a channel of the caller's.
    #[must_use]
    pub const fn new(sender: mpsc::Sender<M>) -> Self {
        Self { sender }
    }

    /// Sends a message, waiting while the relay is full, as it may be while the service is
    /// stopped.
    ///
    /// Dropping the future before it is done means that the message was not sent.
    ///
    /// # Errors
    ///
    /// Gives the message back when the node has ended.
    pub async fn send(&self, message: M) -> Result<(), (RelayError, M)> {
        (self.sender.send(message).await).map_err(|error| (RelayError::Send, error.0))
    }

    /// [`send`](Self::send) for threads outside of any runtime. Blocks while the relay is full.
    ///
    /// # Errors
    ///
    /// Gives the message back when the node has ended.
    ///
    /// # Panics
    ///
    /// When called inside a runtime, which it would block.
    pub fn blocking_send(&self, message: M) -> Result<(), (RelayError, M)> {
        (self.sender.blocking_send(message)).map_err(|error| (RelayError::Send, error.0))
    }

    /// The relay as a sink. Its errors do not give messages back.
    pub fn into_sink(self) -> impl Sink<M> {
        // Boxed so that it can be moved, and `SinkExt::send` be called on it, without a pin.
        Box::pin(sink::unfold(self.sender, |sender, message| async move {
            match sender.send(message).await {
                Ok(()) => Ok(sender),
                Err(_) => Err(RelayError::Send),
            }
        }))
    }
}

// By hand: a derive would ask the messages to be `Clone`.
impl<M> Clone for OutboundRelay<M> {
    fn clone(&self) -> Self {
        Self::new(self.sender.clone())
    }
}

/// The side of the service.
///
/// It ends (`None`) only with the node. When it is dropped, what it has not given out waits for
/// the next run.
pub struct InboundRelay<M> {
    receiver: mpsc::Receiver<M>,
    home: Option<oneshot::Sender<mpsc::Receiver<M>>>,
}

impl<M> InboundRelay<M> {
    /// The next message.
    ///
    /// Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<M> {
        self.receiver.recv().await
    }
}

impl<M> Stream for InboundRelay<M> {
    type Item = M;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.receiver.poll_recv(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.receiver.len(), None)
    }
}

// By hand: a derive would ask the messages to be `Debug`.
impl<M> Debug for InboundRelay<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundRelay").finish_non_exhaustive()
    }
}

impl<M> Drop for InboundRelay<M> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let (_, stand_in) = mpsc::channel(1);
            // When the service's supervisor is gone nobody will receive again, and the channel
            // closes here.
            let _ = home.send(mem::replace(&mut self.receiver, stand_in));
        }
    }
}

/// Both sides of a relay, for the one that runs the service.
pub struct Relay<M> {
    outbound: OutboundRelay<M>,
    receiver: Option<mpsc::Receiver<M>>,
    /// The way home of a receiver that is lent out.
    lent: Option<oneshot::Receiver<mpsc::Receiver<M>>>,
}

impl<M> Relay<M> {
    /// A relay that holds `buffer_size` messages before a sender waits, at least one.
    #[must_use]
    pub fn new(buffer_size: usize) -> Self {
        let (sender, receiver) = mpsc::channel(buffer_size.max(1));
        Self { outbound: OutboundRelay::new(sender), receiver: Some(receiver), lent: None }
    }

    /// The side of those who send.
    #[must_use]
    pub const fn outbound(&self) -> &OutboundRelay<M> {
        &self.outbound
    }

    /// Lends the receiving side out, waiting for a while when it is not home yet.
    pub(crate) async fn lend(&mut self) -> Result<InboundRelay<M>, RelayError> {
        self.look_for_receiver();
        if let Some(way_home) = &mut self.lent
            && let Ok(back) = time::timeout(COMES_HOME_WITHIN, way_home).await
        {
            self.receiver = back.ok();
            self.lent = None;
        }
        let receiver = (self.receiver.take()).ok_or(RelayError::AlreadyConnected)?;
        let (home, way_home) = oneshot::channel();
        self.lent = Some(way_home);
        Ok(InboundRelay { receiver, home: Some(home) })
    }

    /// Takes out what waits now. What comes later stays for the next run.
    pub(crate) fn take_queued(&mut self) -> Vec<M> {
        self.look_for_receiver();
        let Some(receiver) = &mut self.receiver else {
            return Vec::new();
        };
        // Counted first: a busy sender could keep this from ending.
        (0..receiver.len()).map_while(|_| receiver.try_recv().ok()).collect()
    }

    fn look_for_receiver(&mut self) {
        if let Some(way_home) = &mut self.lent
            && let Ok(receiver) = way_home.try_recv()
        {
            self.receiver = Some(receiver);
            self.lent = None;
        }
    }
}
