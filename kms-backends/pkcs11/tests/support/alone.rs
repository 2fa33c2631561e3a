//! One test after the other, where one has the module read everything anew: others of the process, who call it past
//! the backend, must not be inside then.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test while it uses the module.
pub(crate) struct Alone {
    _guard: MutexGuard<'static, ()>,
}

impl Alone {
    pub(crate) fn wait() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        Self { _guard: ALONE.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}
