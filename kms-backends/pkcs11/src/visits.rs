//! Who is in a module: many at once, or one alone.
//!
//! They go in as they come, but for those who would not bear each other. Who stays for long isn't waited for: a
//! thread that hangs never comes out.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who has been inside for so long is waited for no more.
const LONG: Duration = Duration::from_millis(500);

/// How often somebody who waits looks at how long others have been inside.
const LOOK: Duration = Duration::from_millis(10);

/// Who is in, and who waits to be.
#[derive(Default)]
pub(crate) struct Visits {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Default)]
struct Known {
    came: u64,
    /// In the order in which they came.
    visitors: BTreeMap<u64, Visitor>,
}

struct Visitor {
    alone: bool,
    /// Since when it is inside; nothing while it waits.
    since: Option<Instant>,
}

/// To be inside, until it is dropped.
pub(crate) struct Visit<'a> {
    visits: &'a Visits,
    number: u64,
}

impl Visits {
    /// Goes in with others. Blocks while somebody is alone inside, or waits to be.
    pub(crate) fn enter(&self) -> Visit<'_> {
        self.come(false)
    }

    /// Goes in alone. Blocks while somebody else is inside.
    pub(crate) fn enter_alone(&self) -> Visit<'_> {
        self.come(true)
    }

    fn come(&self, alone: bool) -> Visit<'_> {
        let mut known = self.known();
        let number = known.came;
        known.came += 1;
        known.visitors.insert(number, Visitor { alone, since: None });
        while known.keep_out(number, alone) {
            let waited = self.changed.wait_timeout(known, LOOK);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(own) = known.visitors.get_mut(&number) {
            own.since = Some(Instant::now());
        }
        Visit { visits: self, number }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether those who came before keep this one out.
    fn keep_out(&self, number: u64, alone: bool) -> bool {
        let before = self.visitors.range(..number).map(|(_, visitor)| visitor);
        let mut in_the_way = before.filter(|it| alone || it.alone);
        in_the_way.any(|it| it.since.is_none_or(|since| since.elapsed() < LONG))
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.visits.known().visitors.remove(&self.number);
        self.visits.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn who_is_alone_has_nobody_beside_and_others_have() {
        let (visits, inside) = (Visits::default(), AtomicUsize::new(0));
        let (together, done) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        let _visit = visits.enter();
                        if inside.fetch_add(1, Ordering::SeqCst) > 0 {
                            together.store(true, Ordering::SeqCst);
                        }
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
            let mut rounds = 0;
            // Those who come without a pause keep nobody out.
            while rounds < 200 || !together.load(Ordering::SeqCst) {
                rounds += 1;
                let alone = visits.enter_alone();
                assert_eq!(inside.load(Ordering::SeqCst), 0, "round {rounds}");
                drop(alone);
                thread::yield_now();
            }
            done.store(true, Ordering::SeqCst);
        });
        assert!(visits.known().visitors.is_empty());
    }

    #[test]
    fn who_never_comes_out_is_waited_for_once() {
        let visits = Visits::default();
        let begun = Instant::now();
        let hanging = [visits.enter(), visits.enter_alone(), visits.enter()];
        assert!(begun.elapsed() >= LONG * 2, "nobody waited");
        // They are at an end of everybody's patience: nobody looks again.
        thread::sleep(LONG);
        let known = visits.known();
        assert!(!known.keep_out(known.came, false) && !known.keep_out(known.came, true));
        drop(known);
        drop(hanging);
    }
}
