//! What the node keeps of a service to speak to it.

use std::marker::PhantomData;

use super::{
    lifecycle::LifecycleNotifier, relay::OutboundRelay, settings::SettingsUpdater,
    status::StatusWatcher,
};

/// What the node keeps of a service to speak to it.
pub struct ServiceHandle<Message, Settings, State, StateOperator, RuntimeServiceId> {
    pub(super) outbound_relay: OutboundRelay<Message>,
    pub(super) settings_updater: SettingsUpdater<Settings>,
    pub(super) status_watcher: StatusWatcher,
    pub(super) lifecycle_notifier: LifecycleNotifier,
    #[expect(clippy::type_complexity, reason = "a marker of the types not held")]
    pub(super) kind: PhantomData<fn() -> (State, StateOperator, RuntimeServiceId)>,
}

impl<Message, Settings, State, StateOperator, RuntimeServiceId>
    ServiceHandle<Message, Settings, State, StateOperator, RuntimeServiceId>
{
    /// The relay to the service.
    #[must_use]
    pub fn outbound_relay(&self) -> OutboundRelay<Message> {
        self.outbound_relay.clone()
    }

    /// The status of the service.
    #[must_use]
    pub fn status_watcher(&self) -> StatusWatcher {
        self.status_watcher.clone()
    }

    /// Gives the service new settings.
    pub fn update_settings(&self, settings: Settings) {
        self.settings_updater.update(settings);
    }

    /// The way to tell the service to start and stop.
    #[must_use]
    pub const fn lifecycle_notifier(&self) -> &LifecycleNotifier {
        &self.lifecycle_notifier
    }
}
