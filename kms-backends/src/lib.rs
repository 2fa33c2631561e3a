//! One settings enum that opens any backend of the workspace; a cargo feature for each backend.
//!
//! Who puts a node together may use this, or an enum of their own that picks other backends: the
//! service knows the [`BackendSettings`] trait alone.
//!
//! A keystore may be opened by what the other backends reach ([`AnyUnlock`]), where they are built in.

#[cfg(not(any(
    feature = "aws",
    feature = "keystore",
    feature = "pkcs11",
    feature = "preload",
    feature = "vault"
)))]
compile_error!("no backend is chosen: turn on a feature, such as `keystore`");

pub mod environment;
mod rights;
mod settings;
#[cfg(feature = "keystore")]
mod unlock;

pub use environment::{EnvironmentError, InjectedBackend};
pub use kms_backend::BackendSettings;
#[cfg(feature = "aws")]
pub use kms_backend_aws::{AwsSettings, CredentialSource};
#[cfg(feature = "keystore")]
pub use kms_backend_keystore::{KeystoreSettings, UnlockSource};
#[cfg(feature = "pkcs11")]
pub use kms_backend_pkcs11::{KeyObject, Pkcs11Settings, TokenName};
#[cfg(feature = "preload")]
pub use kms_backend_preload::PreloadSettings;
#[cfg(feature = "vault")]
pub use kms_backend_vault::VaultSettings;
pub use rights::Step;
pub use settings::AnyBackend;
#[cfg(feature = "keystore")]
pub use unlock::AnyUnlock;
