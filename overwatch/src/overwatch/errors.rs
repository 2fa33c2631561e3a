//! What can go wrong in a node.

use std::{
    error,
    fmt::{self, Display, Formatter},
};

use thiserror::Error as ThisError;

use crate::{DynError, services::lifecycle::ServiceLifecycleError};

/// An error of the framework.
///
/// It stays at this one variant, as upstream does. When a service's `init` failed, the error that
/// `init` returned is reached through [`source`](error::Error::source).
#[derive(Debug, ThisError)]
pub enum Error {
    /// Any error; its text and sources are those of the error inside.
    #[error(transparent)]
    Any(#[from] DynError),
}

impl From<ServiceLifecycleError> for Error {
    fn from(error: ServiceLifecycleError) -> Self {
        Self::Any(error.into())
    }
}

impl From<OverwatchManagementError> for Error {
    fn from(error: OverwatchManagementError) -> Self {
        Self::Any(error.into())
    }
}

/// The node did not answer to a command about itself. It has most likely shut down already.
// One variant per command, so it grows only when upstream's does.
#[derive(Debug, ThisError)]
pub enum OverwatchManagementError {
    /// The ids of the services could not be had.
    #[error("could not retrieve the ids of the services")]
    RetrieveServiceIds,
    /// The node could not be shut down.
    #[error("could not shut the node down")]
    Shutdown,
}

/// One service that did not do what it was told.
#[derive(Debug, ThisError)]
#[error("service `{service}` could not {action}")]
pub(crate) struct ServiceFailure {
    pub(crate) service: String,
    pub(crate) action: &'static str,
    #[source]
    pub(crate) cause: DynError,
}

/// Several services that did not do what they were told.
///
/// A chain of sources has room for one of them, so the text names all, causes included.
#[derive(Debug)]
struct ServiceFailures(Vec<ServiceFailure>);

impl Display for ServiceFailures {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} services failed", self.0.len())?;
        for (index, failure) in self.0.iter().enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{}", Chain(failure))?;
        }
        Ok(())
    }
}

impl error::Error for ServiceFailures {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.first().and_then(error::Error::source)
    }
}

/// `Ok` without failures, otherwise one error that names all of them.
pub(crate) fn all_or_failures(mut failures: Vec<ServiceFailure>) -> Result<(), Error> {
    match failures.len() {
        0 => Ok(()),
        1 => Err(Error::Any(Box::new(failures.remove(0)))),
        _ => Err(Error::Any(Box::new(ServiceFailures(failures)))),
    }
}

/// Prints an error and everything that caused it, in one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn error::Error + 'static));

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
