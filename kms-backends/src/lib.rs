//! One settings enum that opens any backend of the workspace; a cargo feature for each backend.
//!
//! Who puts a node together may use this, or an enum of their own that picks other backends: the
//! service knows the [`BackendSettings`] trait alone.

mod settings;

pub use kms_backend::BackendSettings;
#[cfg(feature = "preload")]
pub use kms_backend_preload::PreloadSettings;
pub use settings::AnyBackend;
