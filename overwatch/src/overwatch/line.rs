//! The line from handles to the command loop.
//!
//! A command reports with a bare signal, which has no room for an error. So that a failure does
//! not lose its cause, the commands of a handle travel with a slot beside them: the loop puts the
//! error there, and only then drops the signal.

use tokio::sync::{mpsc, oneshot};

use super::{Error, commands::OverwatchCommand};
use crate::{services::state::node_wait, utils::finished_signal};

/// A command with the slot for its failure. Commands made by hand have none.
pub(crate) struct Envelope<RuntimeServiceId> {
    pub(crate) command: OverwatchCommand<RuntimeServiceId>,
    pub(crate) failure: Option<oneshot::Sender<Error>>,
}

/// The node did not take a question, or took it and ended before it answered.
pub(crate) enum Gone {
    Unsent,
    Unanswered(oneshot::error::RecvError),
}

/// The sending side.
pub(crate) enum Line<RuntimeServiceId> {
    /// To a node.
    Node(mpsc::Sender<Envelope<RuntimeServiceId>>),
    /// To whoever made a handle around a channel of its own.
    Plain(mpsc::Sender<OverwatchCommand<RuntimeServiceId>>),
}

impl<RuntimeServiceId> Line<RuntimeServiceId> {
    /// Sends a command without a slot.
    pub(crate) async fn send(
        &self,
        command: OverwatchCommand<RuntimeServiceId>,
    ) -> Result<(), mpsc::error::SendError<OverwatchCommand<RuntimeServiceId>>> {
        let _waiting = node_wait::begin();
        match self {
            Self::Plain(sender) => sender.send(command).await,
            Self::Node(sender) => {
                let envelope = Envelope { command, failure: None };
                (sender.send(envelope).await)
                    .map_err(|error| mpsc::error::SendError(error.0.command))
            }
        }
    }

    /// Sends a question and waits for the answer.
    pub(crate) async fn ask<Answer>(
        &self,
        command: OverwatchCommand<RuntimeServiceId>,
        answer: oneshot::Receiver<Answer>,
    ) -> Result<Answer, Gone> {
        let _waiting = node_wait::begin();
        self.send(command).await.map_err(|_| Gone::Unsent)?;
        answer.await.map_err(Gone::Unanswered)
    }

    /// Sends a command and waits for its signal. The error is the cause, where it is known.
    pub(crate) async fn complete(
        &self,
        command: OverwatchCommand<RuntimeServiceId>,
        done: finished_signal::Receiver,
    ) -> Result<(), Option<Error>> {
        let _waiting = node_wait::begin();
        let (failure, mut cause) = oneshot::channel();
        match self {
            Self::Plain(sender) => sender.send(command).await.map_err(|_| None)?,
            Self::Node(sender) => {
                let envelope = Envelope { command, failure: Some(failure) };
                sender.send(envelope).await.map_err(|_| None)?;
            }
        }
        done.await.map_err(|_| cause.try_recv().ok())
    }
}

// By hand: a derive would ask the ids to be `Clone`.
impl<RuntimeServiceId> Clone for Line<RuntimeServiceId> {
    fn clone(&self) -> Self {
        match self {
            Self::Node(sender) => Self::Node(sender.clone()),
            Self::Plain(sender) => Self::Plain(sender.clone()),
        }
    }
}
