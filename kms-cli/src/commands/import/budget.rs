//! Memory that workers share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// So many bytes; who needs some waits until they are there.
pub(super) struct Budget {
    most: u64,
    used: Mutex<u64>,
    returned: Condvar,
}

/// Bytes that are in use until this is dropped.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(most: u64) -> Self {
        Self { most, used: Mutex::new(0), returned: Condvar::new() }
    }

    /// Waits for `bytes`. Who needs more than there is in all gets all, alone.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.most);
        let mut used = self.used();
        while *used + bytes > self.most {
            used = self.returned.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        Share { budget: self, bytes }
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.used() -= self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn never_more_is_used_than_there_is() {
        let (budget, used) = (Budget::new(10), AtomicU64::new(0));
        thread::scope(|scope| {
            for bytes in [1, 4, 7, 10, 25] {
                let (budget, used) = (&budget, &used);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let share = budget.take(bytes);
                        let now = used.fetch_add(share.bytes, Ordering::SeqCst) + share.bytes;
                        assert!(now <= 10, "{now}");
                        used.fetch_sub(share.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(*budget.used(), 0);
    }
}
