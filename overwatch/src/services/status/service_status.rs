//! The statuses.

use std::fmt::{self, Display, Formatter};

/// Where a service is in its life.
// As upstream has it, so it grows only when upstream's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceStatus {
    /// Its `run` has begun.
    Starting,
    /// It says that it is ready to serve.
    Ready,
    /// It does not run: not yet, not any more, or it could not be started.
    Stopped,
}

impl Display for ServiceStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "ServiceStatus::Starting",
            Self::Ready => "ServiceStatus::Ready",
            Self::Stopped => "ServiceStatus::Stopped",
        })
    }
}
