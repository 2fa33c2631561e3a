//! Keys whose secrets the settings point at: a file, or an environment variable.
//!
//! The backend loads and never writes: it can't generate, rotate or delete keys. A secret is read
//! when its key is registered, stays in this process's memory while the service runs, and is read
//! again when the service is started again.

mod backend;
mod settings;

pub use settings::PreloadSettings;
