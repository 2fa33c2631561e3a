//! For services without a state.

use std::{convert::Infallible, future, marker::PhantomData, pin::Pin};

use super::{ServiceState, StateOperator};
use crate::{DynError, overwatch::OverwatchHandle};

/// The state of a service that has none.
pub struct NoState<Settings>(PhantomData<fn() -> Settings>);

impl<Settings> ServiceState for NoState<Settings> {
    type Settings = Settings;
    type Error = DynError;

    fn from_settings(_settings: &Settings) -> Result<Self, DynError> {
        Ok(Self(PhantomData))
    }
}

// By hand: a derive would ask the settings to be `Clone`.
impl<Settings> Clone for NoState<Settings> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

/// The operator of a service whose state need not be kept.
pub struct NoOperator<State>(PhantomData<fn() -> State>);

impl<State: ServiceState, RuntimeServiceId> StateOperator<RuntimeServiceId> for NoOperator<State> {
    type State = State;
    type LoadError = Infallible;

    fn try_load(_settings: &State::Settings) -> Result<Option<State>, Infallible> {
        Ok(None)
    }

    fn from_settings(
        _settings: &State::Settings,
        _overwatch_handle: OverwatchHandle<RuntimeServiceId>,
    ) -> Self {
        Self(PhantomData)
    }

    // Written out: `async fn` would hold the state, and so ask it to be `Send`.
    fn run<'life0, 'async_trait>(
        &'life0 mut self,
        _state: State,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(future::ready(()))
    }
}

// By hand: a derive would ask the state to be `Clone`.
impl<State> Clone for NoOperator<State> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}
