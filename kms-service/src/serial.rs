//! One lifecycle operation at a time per key; those that come meanwhile wait in their order.

use std::collections::{HashMap, VecDeque};

use kms_keys::KeyId;

/// The keys that an operation is under way for, each with what waits behind it. Waiters are bounded
/// all together.
#[derive(Debug)]
pub(crate) struct Serial<T> {
    busy: HashMap<KeyId, VecDeque<T>>,
    waiting: usize,
    capacity: usize,
}

/// What became of an operation that wanted to start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<T> {
    /// Nothing else is under way for the key: it may start now, and [`Serial::finish`] must follow.
    Now(T),
    /// It waits; [`Serial::finish`] will give it back.
    Later,
    /// Too many wait already.
    Full(T),
}

impl<T> Serial<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { busy: HashMap::new(), waiting: 0, capacity }
    }

    pub(crate) fn begin(&mut self, key: &KeyId, operation: T) -> Turn<T> {
        let keys = self.busy.len();
        match self.busy.get_mut(key) {
            None if keys >= self.capacity => Turn::Full(operation),
            None => {
                self.busy.insert(key.clone(), VecDeque::new());
                Turn::Now(operation)
            }
            Some(_) if self.waiting >= self.capacity => Turn::Full(operation),
            Some(queue) => {
                queue.push_back(operation);
                self.waiting += 1;
                Turn::Later
            }
        }
    }

    /// Ends the operation that is under way for `key`, and gives the next one, which is under way
    /// from then on.
    pub(crate) fn finish(&mut self, key: &KeyId) -> Option<T> {
        let next = self.busy.get_mut(key)?.pop_front();
        match next {
            Some(_) => self.waiting -= 1,
            None => drop(self.busy.remove(key)),
        }
        next
    }

    /// Takes out everything that waits.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.waiting = 0;
        self.busy.drain().flat_map(|(_, queue)| queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> KeyId {
        KeyId::new(id).unwrap()
    }

    #[test]
    fn operations_on_one_key_take_turns_in_order() {
        let mut serial = Serial::new(8);
        assert_eq!(serial.begin(&key("a"), 1), Turn::Now(1));
        assert_eq!(serial.begin(&key("a"), 2), Turn::Later);
        assert_eq!(serial.begin(&key("a"), 3), Turn::Later);
        assert_eq!(serial.begin(&key("b"), 4), Turn::Now(4));
        assert_eq!(serial.finish(&key("a")), Some(2));
        assert_eq!(serial.finish(&key("a")), Some(3));
        assert_eq!(serial.finish(&key("a")), None);
        assert_eq!(serial.begin(&key("a"), 5), Turn::Now(5));
    }

    #[test]
    fn waiters_and_keys_are_bounded() {
        let mut serial = Serial::new(2);
        assert_eq!(serial.begin(&key("a"), 1), Turn::Now(1));
        assert_eq!(serial.begin(&key("b"), 2), Turn::Now(2));
        assert_eq!(serial.begin(&key("c"), 3), Turn::Full(3));
        assert_eq!(serial.begin(&key("a"), 4), Turn::Later);
        assert_eq!(serial.begin(&key("b"), 5), Turn::Later);
        assert_eq!(serial.begin(&key("a"), 6), Turn::Full(6));
        assert_eq!(serial.finish(&key("a")), Some(4));
        assert_eq!(serial.begin(&key("a"), 7), Turn::Later);
    }

    #[test]
    fn what_waits_can_be_taken_out() {
        let mut serial = Serial::new(8);
        serial.begin(&key("a"), 1);
        serial.begin(&key("a"), 2);
        serial.begin(&key("a"), 3);
        assert_eq!(serial.drain().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(serial.finish(&key("a")), None);
    }
}
