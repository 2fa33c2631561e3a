//! The places at something that takes so much at once, shared out so that one caller's flood leaves
//! some to others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Caller;

/// A caller may hold so many times what it leaves free: of 64 places, 56.
const SHARE: usize = 7;

/// A number of places, and who holds how many.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_all: usize,
    /// Of those who hold any.
    by: BTreeMap<Caller, usize>,
}

/// Places that are held until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    places: Arc<Places>,
    caller: Caller,
    number: usize,
}

impl Places {
    pub(crate) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { all, held: Mutex::default() })
    }

    /// So many places for `caller`, if they are free and it doesn't hold too many already.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller, number: usize) -> Option<Taken> {
        let mut held = self.held();
        let free = self.all - held.by_all;
        let mine = held.by.get(caller).copied().unwrap_or(0);
        if number > free || (mine > 0 && mine + number > free.saturating_mul(SHARE)) {
            return None;
        }
        held.by_all += number;
        held.by.insert(caller.clone(), mine + number);
        Some(Taken { places: Arc::clone(self), caller: caller.clone(), number })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut held = self.places.held();
        held.by_all -= self.number;
        if let Some(mine) = held.by.get_mut(&self.caller) {
            *mine -= self.number;
            if *mine == 0 {
                held.by.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(places: &Arc<Places>, caller: &str) -> Vec<Taken> {
        let caller = Caller::new(caller.into());
        std::iter::from_fn(|| places.take(&caller, 1)).collect()
    }

    #[test]
    fn a_flood_leaves_places_to_others() {
        let places = Places::new(64);
        let first = flood(&places, "first");
        assert_eq!(first.len(), 56);
        let second = flood(&places, "second");
        assert_eq!(second.len(), 7);
        let third = flood(&places, "third");
        assert_eq!(third.len(), 1);
        assert!(places.take(&Caller::new("fourth".into()), 1).is_none());
        drop((first, second, third));
        assert_eq!(places.held().by, BTreeMap::from([]));
    }

    #[test]
    fn who_needs_many_waits_for_no_more_than_all_to_be_free() {
        let (places, big) = (Places::new(8), Caller::new("big".into()));
        let all = places.take(&big, 8).unwrap();
        assert_eq!(flood(&places, "other").len(), 0);
        drop(all);
        let other = flood(&places, "other");
        assert_eq!(other.len(), 7);
        assert!(places.take(&big, 2).is_none());
        assert!(places.take(&big, 1).is_some());
    }

    #[test]
    fn a_single_place_is_had_by_whoever_comes_first() {
        let places = Places::new(1);
        let held = flood(&places, "first");
        assert_eq!(held.len(), 1);
        assert_eq!(flood(&places, "second").len(), 0);
        drop(held);
        assert_eq!(flood(&places, "second").len(), 1);
    }
}
