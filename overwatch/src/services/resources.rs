//! What a service is given at its start.

use super::{
    relay::InboundRelay,
    settings::SettingsHandle,
    state::StateUpdater,
    status::{StatusUpdater, handle::ServiceAPI},
};
use crate::overwatch::OverwatchHandle;

/// What a service is given at its start. It takes out what it needs.
pub struct ServiceResourcesHandle<Message, Settings, State, RuntimeServiceId> {
    /// The messages to this service.
    pub inbound_relay: InboundRelay<Message>,
    /// To say that the service is ready.
    pub status_updater: StatusUpdater<ServiceAPI>,
    /// The node.
    pub overwatch_handle: OverwatchHandle<RuntimeServiceId>,
    /// The settings, and later changes of them.
    pub settings_handle: SettingsHandle<Settings>,
    /// To have a state kept.
    pub state_updater: StateUpdater<Option<State>>,
}
