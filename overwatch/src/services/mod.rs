//! Services: what they are made of, and how they are run.

pub mod lifecycle;
pub mod relay;
pub mod resources;
pub mod runner;
pub mod service_handle;
pub mod settings;
pub mod state;
pub mod status;

mod failure;
mod supervisor;

use async_trait::async_trait;

use crate::{DynError, OpaqueServiceResourcesHandle};

/// The types of a service.
pub trait ServiceData {
    /// Messages that the relay holds before a sender waits.
    const SERVICE_RELAY_BUFFER_SIZE: usize = 16;
    /// What the service is set up with. Cloned and kept for the whole run, so it never holds a
    /// secret, only where to find one.
    type Settings;
    /// What the service wants to find again at its next start.
    type State;
    /// What loads and keeps the state.
    type StateOperator;
    /// What other services send.
    type Message;
}

/// The work of a service.
#[async_trait]
pub trait ServiceCore<RuntimeServiceId>: Sized + ServiceData {
    /// Makes the service, at every start anew.
    ///
    /// It runs inside the node's runtime. It may wait for I/O with
    /// [`block_in_place`](tokio::task::block_in_place) and the runtime's handle; it must not wait
    /// for an answer of the node, which itself waits for this start.
    ///
    /// # Errors
    ///
    /// Whatever keeps the service from starting; whoever asked for the start is given it.
    fn init(
        service_resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        initial_state: Self::State,
    ) -> Result<Self, DynError>;

    /// Works until done, or until it is stopped.
    ///
    /// To stop it, its future is dropped at an await: whatever must be cleaned up belongs in a
    /// `Drop`, and nothing half-written may be visible across an await.
    ///
    /// # Errors
    ///
    /// Whatever keeps the service from going on. It is logged; the service is then stopped.
    async fn run(mut self) -> Result<(), DynError>;
}

/// Implemented by the ids of a node that has the service `T`.
pub trait AsServiceId<T> {
    /// The id of `T`.
    const SERVICE_ID: Self;
}

/// The names of a service's tasks.
pub trait ServiceTaskNames {
    /// The task that runs the service: `overwatch-service/<field>`.
    fn service_task_name(&self) -> &'static str;
    /// The task that hands its state over: `overwatch-state/<field>`.
    fn state_task_name(&self) -> &'static str;
}
