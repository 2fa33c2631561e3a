//! The channel from a service to its state's operator. The latest state wins.

use std::sync::Arc;

use tokio::sync::watch;

/// The side of the service.
pub struct StateUpdater<S> {
    sender: Arc<watch::Sender<S>>,
}

impl<S> StateUpdater<S> {
    /// An updater of the given channel.
    #[must_use]
    pub const fn new(sender: Arc<watch::Sender<S>>) -> Self {
        Self { sender }
    }

    /// Hands a state over. It replaces one that the operator has not begun with.
    pub fn update(&self, state: S) {
        self.sender.send_replace(state);
    }
}

// By hand: a derive would ask the state to be `Clone`.
impl<S> Clone for StateUpdater<S> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.sender))
    }
}

/// The side of the operator.
pub struct StateWatcher<S> {
    receiver: watch::Receiver<S>,
}

impl<S> StateWatcher<S> {
    /// A watcher that begins with what is in the channel already.
    #[must_use]
    pub fn new(mut receiver: watch::Receiver<S>) -> Self {
        receiver.mark_changed();
        Self { receiver }
    }

    /// Waits for a state not seen yet; `false` when there will be none. Cancel-safe.
    pub(super) async fn changed(&mut self) -> bool {
        let changed = self.receiver.changed().await.is_ok();
        if changed {
            // Noticing it is not seeing it.
            self.receiver.mark_changed();
        }
        changed
    }
}

impl<S: Clone> StateWatcher<S> {
    /// The latest state, unless it has been seen.
    pub(super) fn unseen(&mut self) -> Option<S> {
        let state = self.receiver.borrow_and_update();
        state.has_changed().then(|| state.clone())
    }
}
