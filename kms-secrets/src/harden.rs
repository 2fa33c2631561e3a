//! What a process can do against whoever would read its memory.

use std::fmt;
use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// What [`harden_process`] achieved: each measure, and why it failed if it did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Hardened {
    /// No other process of the same user may trace this one or read its memory, and no core is dumped
    /// (`PR_SET_DUMPABLE` off).
    pub not_dumpable: io::Result<()>,
    /// Core dumps have size 0 (`RLIMIT_CORE`), here and in the programs that this process starts.
    pub no_core: io::Result<()>,
    /// Neither this process nor a program that it starts gains privileges by a set-user-ID file
    /// (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: io::Result<()>,
}

/// Closes this process's memory to other processes of the same user, forbids core dumps and new
/// privileges. To be called first thing in `main`; a failure is no reason to stop, and is told.
///
/// Afterwards the files of this process under `/proc` belong to root: it can't open its own
/// `/proc/self/mem` or `environ` unless it is root itself, though [`environment::take`] works.
///
/// [`environment::take`]: crate::environment::take
pub fn harden_process() -> Hardened {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    Hardened {
        not_dumpable: rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(io::Error::from),
        no_core: rustix::process::setrlimit(Resource::Core, none).map_err(io::Error::from),
        no_new_privileges: rustix::thread::set_no_new_privs(true).map_err(io::Error::from),
    }
}

impl Hardened {
    /// Whether every measure took.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failures().next().is_none()
    }

    fn failures(&self) -> impl Iterator<Item = (&'static str, &io::Error)> {
        [
            ("memory is open to other processes", &self.not_dumpable),
            ("core dumps are possible", &self.no_core),
            ("new privileges are possible", &self.no_new_privileges),
        ]
        .into_iter()
        .filter_map(|(what, result)| Some((what, result.as_ref().err()?)))
    }
}

/// What failed, for people; nothing if all took.
impl fmt::Display for Hardened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (what, cause)) in self.failures().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{what}: {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_and_what_took_is_not() {
        let refused = || Err(io::ErrorKind::PermissionDenied.into());
        let mut hardened =
            Hardened { not_dumpable: Ok(()), no_core: Ok(()), no_new_privileges: Ok(()) };
        assert!(hardened.is_complete());
        assert_eq!(hardened.to_string(), "");
        hardened.no_core = refused();
        hardened.no_new_privileges = refused();
        assert!(!hardened.is_complete());
        assert_eq!(
            hardened.to_string(),
            "core dumps are possible: permission denied; \
             new privileges are possible: permission denied"
        );
    }
}
