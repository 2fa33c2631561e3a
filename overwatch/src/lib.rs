//! A node framework: services in one process that pass each other messages.
//!
//! A node is a struct whose fields are services. [`derive_services`] turns it into something that
//! [`OverwatchRunner`](overwatch::OverwatchRunner) can run; an
//! [`OverwatchHandle`](overwatch::OverwatchHandle) then starts and stops the services, and hands
//! out their relays.
//!
//! The names, paths and signatures are those of upstream Overwatch, so a node can change from one
//! to the other in a single line of its manifest.

#![cfg_attr(not(feature = "derive"), allow(rustdoc::broken_intra_doc_links))]

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
