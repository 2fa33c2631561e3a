//! What a node must be able to do with its services.

use async_trait::async_trait;

use super::{Error, OverwatchHandle};
use crate::{
    DynError,
    services::{lifecycle::LifecycleNotifier, relay::AnyMessage, status::StatusWatcher},
};

/// The services of a node.
///
/// Made by [`derive_services`](crate::derive_services); the command loop is its only caller.
#[async_trait]
pub trait Services: Sized {
    /// The settings of all services.
    type Settings;
    /// Names one service of this node.
    type RuntimeServiceId;

    /// Sets up all services without starting them. Called inside the node's runtime.
    ///
    /// # Errors
    ///
    /// When a service cannot be set up; the node then does not begin.
    fn new(
        settings: Self::Settings,
        overwatch_handle: OverwatchHandle<Self::RuntimeServiceId>,
    ) -> Result<Self, DynError>;

    /// Starts one service and waits for it.
    ///
    /// # Errors
    ///
    /// When it could not be started, with the cause.
    async fn start(&mut self, service_id: &Self::RuntimeServiceId) -> Result<(), Error>;

    /// Tells the services to start, in order, then waits for all.
    ///
    /// # Errors
    ///
    /// Names every service that could not be started.
    async fn start_sequence(&mut self, service_ids: &[Self::RuntimeServiceId])
    -> Result<(), Error>;

    /// Tells all services to start, then waits for all.
    ///
    /// # Errors
    ///
    /// Names every service that could not be started.
    async fn start_all(&mut self) -> Result<(), Error>;

    /// Stops one service and waits for it.
    ///
    /// # Errors
    ///
    /// When it could not be stopped.
    async fn stop(&mut self, service_id: &Self::RuntimeServiceId) -> Result<(), Error>;

    /// Tells the services to stop, in order, then waits for all.
    ///
    /// # Errors
    ///
    /// Names every service that could not be stopped.
    async fn stop_sequence(&mut self, service_ids: &[Self::RuntimeServiceId]) -> Result<(), Error>;

    /// Tells all services to stop, then waits for all.
    ///
    /// # Errors
    ///
    /// Names every service that could not be stopped.
    async fn stop_all(&mut self) -> Result<(), Error>;

    /// Ends what [`new`](Self::new) set up.
    ///
    /// # Errors
    ///
    /// When something could not be ended.
    async fn teardown(self) -> Result<(), Error>;

    /// The ids of all services.
    fn ids(&self) -> Vec<Self::RuntimeServiceId>;

    /// The relay of a service: a boxed
    /// [`OutboundRelay`](crate::services::relay::OutboundRelay) of its messages.
    fn request_relay(&mut self, service_id: &Self::RuntimeServiceId) -> AnyMessage;

    /// The status of a service.
    fn request_status_watcher(&self, service_id: &Self::RuntimeServiceId) -> StatusWatcher;

    /// Gives every service its part of new settings.
    fn update_settings(&mut self, settings: Self::Settings);

    /// The way to tell one service to start and stop.
    fn get_service_lifecycle_notifier(
        &self,
        service_id: &Self::RuntimeServiceId,
    ) -> &LifecycleNotifier;
}
