//! Why a service did not start or stop.

use thiserror::Error;

use super::relay::RelayError;
use crate::DynError;

/// The step of a start that failed.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// The run before still holds it.
    #[error("its relay did not come back from the run before")]
    Relay(#[source] RelayError),
    /// Errors of the state are only known to have a text.
    #[error("its saved state could not be loaded: {0}")]
    LoadState(String),
    /// See `LoadState`.
    #[error("its state could not be made from its settings: {0}")]
    InitialState(String),
    #[error("its init failed")]
    Init(#[source] DynError),
    #[error("its init panicked: {0}")]
    Panic(String),
}

/// The supervisor of a service has ended, with the node.
#[derive(Debug, Error)]
#[error("the service has ended with its node")]
pub(crate) struct SupervisorGone;

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
