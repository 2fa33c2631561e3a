//! One settings enum that opens any backend of the workspace; a cargo feature for each backend.
//!
//! Who puts a node together may use this, or an enum of their own that picks other backends: the
//! service knows the [`BackendSettings`] trait alone.

#[cfg(not(any(feature = "keystore", feature = "preload")))]
compile_error!("no backend is chosen: turn on feature `keystore` or `preload`");

pub mod environment;
mod settings;

pub use environment::{EnvironmentError, InjectedBackend};
pub use kms_backend::BackendSettings;
#[cfg(feature = "keystore")]
pub use kms_backend_keystore::{KeystoreSettings, UnlockSource};
#[cfg(feature = "preload")]
pub use kms_backend_preload::PreloadSettings;
pub use settings::AnyBackend;
