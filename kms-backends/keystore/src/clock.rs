//! The time as the store writes it down.

use std::time::SystemTime;

/// Seconds since 1970; 0 where the clock stands before that.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
