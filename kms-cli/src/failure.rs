//! Why a command did not do what it was asked, and the exit code for that.

use std::fmt;

use kms_backend_keystore::StoreError;

/// The exit codes but 0, after BSD's `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Wrong usage of the command line; nothing was touched.
    Usage = 64,
    /// What had to be touched failed.
    Unavailable = 69,
    /// A bug.
    Bug = 70,
}

/// Why there is no success.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    error: anyhow::Error,
}

/// What a command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The command line asks for something that can't be.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self { code: Code::Usage, error: anyhow::anyhow!("{text}") }
    }

    /// Something failed that no library's error says.
    pub(crate) fn unavailable(text: impl fmt::Display) -> Self {
        Self { code: Code::Unavailable, error: anyhow::anyhow!("{text}") }
    }

    /// Something that can't be.
    pub(crate) fn bug(text: impl fmt::Display) -> Self {
        Self { code: Code::Bug, error: anyhow::anyhow!("{text}") }
    }

    /// The same failure of `what`.
    pub(crate) fn of(self, what: impl fmt::Display) -> Self {
        Self { code: self.code, error: self.error.context(what.to_string()) }
    }
}

/// With all its causes in one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = anyhow::Error::new(error);
        let is_bug = error.chain().any(|cause| {
            let boxed = || cause.downcast_ref::<Box<StoreError>>().map(|boxed| &**boxed);
            matches!(cause.downcast_ref().or_else(boxed), Some(StoreError::Bug(_)))
        });
        Self { code: if is_bug { Code::Bug } else { Code::Unavailable }, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_told_from_what_failed() {
        assert_eq!(Failure::from(StoreError::Bug("x")).code, Code::Bug);
        assert_eq!(Failure::from(StoreError::Records).code, Code::Unavailable);
        let first = Box::new(StoreError::Bug("x"));
        let nested = StoreError::BackupDamaged { problems: 1, first };
        assert_eq!(Failure::from(nested).code, Code::Bug);
    }

    #[test]
    fn the_whole_chain_is_shown() {
        let cause = std::io::Error::other("no luck");
        let failure = Failure::from(StoreError::Io { path: "x".into(), doing: "read", cause });
        assert_eq!(failure.of("file y").to_string(), "file y: store x can't be read: no luck");
    }
}
