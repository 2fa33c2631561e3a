//! The state of a service: what it wants to find again at its next start.

mod handle;
pub(crate) mod node_wait;
mod none;
mod updater;

use async_trait::async_trait;

pub(crate) use self::handle::Ending;
pub use self::{
    handle::StateHandle,
    none::{NoOperator, NoState},
    updater::{StateUpdater, StateWatcher},
};
use crate::overwatch::OverwatchHandle;

/// The state of a service.
pub trait ServiceState: Sized {
    /// The settings of the service.
    type Settings;
    /// Why there is no state for some settings.
    type Error;

    /// The state of a service that has none saved.
    ///
    /// # Errors
    ///
    /// When the settings allow none; the service then does not start.
    fn from_settings(settings: &Self::Settings) -> Result<Self, Self::Error>;
}

/// Loads and keeps the state of a service.
///
/// One is made per service and cloned for every start.
#[async_trait]
pub trait StateOperator<RuntimeServiceId> {
    /// The state that it loads and keeps.
    type State: ServiceState;
    /// Why a state could not be loaded.
    type LoadError;

    /// The state saved before, if there is one. Called at every start.
    ///
    /// # Errors
    ///
    /// When there may be one but it cannot be loaded. The service then does not start: to begin
    /// anew could overwrite what is there.
    fn try_load(
        settings: &<Self::State as ServiceState>::Settings,
    ) -> Result<Option<Self::State>, Self::LoadError>;

    /// Makes the operator of a service.
    fn from_settings(
        settings: &<Self::State as ServiceState>::Settings,
        overwatch_handle: OverwatchHandle<RuntimeServiceId>,
    ) -> Self;

    /// Keeps a state.
    ///
    /// A stop waits until the last state is kept. Only when this waits for an answer of the node
    /// while the node waits for the stop is it dropped, since neither could go on.
    async fn run(&mut self, state: Self::State);
}
