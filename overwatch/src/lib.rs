//! A node framework: services in one process that pass each other messages.
//!
//! A node is a struct whose fields are services. [`derive_services`] turns it into something that
//! [`OverwatchRunner`](overwatch::OverwatchRunner) can run; an
//! [`OverwatchHandle`](overwatch::OverwatchHandle) then starts and stops the services, and hands
//! out their relays.
//!
//! ```
//! # #[cfg(feature = "derive")] mod example {
//! use overwatch::{
//!     DynError, OpaqueServiceResourcesHandle, derive_services,
//!     overwatch::OverwatchRunner,
//!     services::{
//!         ServiceCore, ServiceData,
//!         state::{NoOperator, NoState},
//!     },
//! };
//!
//! /// Prints what it is sent.
//! struct Printer(OpaqueServiceResourcesHandle<Self, RuntimeServiceId>);
//!
//! impl ServiceData for Printer {
//!     type Settings = ();
//!     type State = NoState<()>;
//!     type StateOperator = NoOperator<Self::State>;
//!     type Message = String;
//! }
//!
//! #[async_trait::async_trait]
//! impl ServiceCore<RuntimeServiceId> for Printer {
//!     fn init(
//!         resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
//!         _initial_state: NoState<()>,
//!     ) -> Result<Self, DynError> {
//!         Ok(Self(resources))
//!     }
//!
//!     async fn run(mut self) -> Result<(), DynError> {
//!         self.0.status_updater.notify_ready();
//!         while let Some(text) = self.0.inbound_relay.recv().await {
//!             println!("{text}");
//!         }
//!         Ok(())
//!     }
//! }
//!
//! #[derive_services]
//! struct App {
//!     printer: Printer,
//! }
//!
//! # pub
//! async fn run() -> Result<(), DynError> {
//!     let node = OverwatchRunner::<App>::run(AppServiceSettings { printer: () }, None)?;
//!     node.handle().start_service::<Printer>().await?;
//!     let relay = node.handle().relay::<Printer>().await?;
//!     relay.send("Hello".to_owned()).await.map_err(|(error, _)| error)?;
//!     node.handle().shutdown().await?;
//!     node.wait_finished().await;
//!     Ok(())
//! }
//! # }
//! # #[cfg(feature = "derive")]
//! # overwatch::utils::runtime::default_multithread_runtime().block_on(example::run()).unwrap();
//! ```
//!
//! The names, paths and signatures are those of upstream Overwatch, so a node can change from one
//! to the other in a single line of its manifest.

#![cfg_attr(
    not(feature = "derive"),
    allow(rustdoc::broken_intra_doc_links, reason = "the macro that they lead to is left out")
)]

#[doc(hidden)]
pub mod derive_support;
pub mod overwatch;
pub mod services;
pub mod utils;

mod task;

#[cfg(feature = "derive")]
pub use overwatch_derive::{Services, derive_services};

use services::{
    ServiceData,
    resources::ServiceResourcesHandle,
    runner::{ServiceRunner, ServiceRunnerHandle},
    service_handle::ServiceHandle,
};

/// An error of any type, as services return it.
pub type DynError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The [`ServiceRunner`] of the service `S`.
pub type OpaqueServiceRunner<S, RuntimeServiceId> = ServiceRunner<
    <S as ServiceData>::Message,
    <S as ServiceData>::Settings,
    <S as ServiceData>::State,
    <S as ServiceData>::StateOperator,
    RuntimeServiceId,
>;

/// The [`ServiceHandle`] of the service `S`.
pub type OpaqueServiceHandle<S, RuntimeServiceId> = ServiceHandle<
    <S as ServiceData>::Message,
    <S as ServiceData>::Settings,
    <S as ServiceData>::State,
    <S as ServiceData>::StateOperator,
    RuntimeServiceId,
>;

/// The [`ServiceRunnerHandle`] of the service `S`.
pub type OpaqueServiceRunnerHandle<S, RuntimeServiceId> = ServiceRunnerHandle<
    <S as ServiceData>::Message,
    <S as ServiceData>::Settings,
    <S as ServiceData>::State,
    <S as ServiceData>::StateOperator,
    RuntimeServiceId,
>;

/// The [`ServiceResourcesHandle`] of the service `S`, which its `init` receives.
pub type OpaqueServiceResourcesHandle<S, RuntimeServiceId> = ServiceResourcesHandle<
    <S as ServiceData>::Message,
    <S as ServiceData>::Settings,
    <S as ServiceData>::State,
    RuntimeServiceId,
>;
