//! The status of a service: who may say it, and who may look.

pub mod handle;
pub mod service_status;
pub mod updater;
pub mod watcher;

pub use self::{
    handle::StatusHandle, service_status::ServiceStatus, updater::StatusUpdater,
    watcher::StatusWatcher,
};
