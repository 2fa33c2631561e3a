//! Asking once more and at once with another login: each time with records of its own.

use std::error::Error;
use std::fmt;

use kms_backend::BackendError;

tokio::task_local! {
    static IS_USED: bool;
}

/// The cause of an error that says: whoever was asked didn't accept the login, and there is another one now. What
/// goes through [`Remote`](crate::Remote) is then tried once more, at once.
#[derive(Clone, Copy, Debug)]
pub struct NewLogin;

impl NewLogin {
    /// Whether the try under way is that one more, after which there is no other; also outside of any try.
    #[must_use]
    pub fn is_used() -> bool {
        IS_USED.try_with(|is_used| *is_used).unwrap_or(true)
    }

    pub(crate) async fn used<T>(is_used: bool, work: impl Future<Output = T>) -> T {
        IS_USED.scope(is_used, work).await
    }

    /// Whether it is the cause of this error.
    pub(crate) fn is_cause_of(error: &BackendError) -> bool {
        let mut cause = error.source();
        while let Some(error) = cause {
            if error.is::<Self>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

impl fmt::Display for NewLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is another login now")
    }
}

impl Error for NewLogin {}
