//! One lifecycle operation at a time per key; those that come meanwhile wait in their order.

use std::collections::{HashMap, VecDeque};

use kms_keys::KeyId;

/// The keys that an operation is under way for, each with what waits behind it. How many there may be is
/// the business of who puts them in.
#[derive(Debug)]
pub(crate) struct Serial<T> {
    busy: HashMap<KeyId, VecDeque<T>>,
}

/// What became of an operation that wanted to start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<T> {
    /// Nothing else is under way for the key: it may start now, and [`Serial::finish`] must follow.
    Now(T),
    /// It waits; [`Serial::finish`] will give it back.
    Later,
}

impl<T> Default for Serial<T> {
    fn default() -> Self {
        Self { busy: HashMap::new() }
    }
}

impl<T> Serial<T> {
    pub(crate) fn begin(&mut self, key: &KeyId, operation: T) -> Turn<T> {
        if let Some(queue) = self.busy.get_mut(key) {
            queue.push_back(operation);
            return Turn::Later;
        }
        self.busy.insert(key.clone(), VecDeque::new());
        Turn::Now(operation)
    }

    /// Ends the operation that is under way for `key`, and gives the next one, which is under way
    /// from then on.
    pub(crate) fn finish(&mut self, key: &KeyId) -> Option<T> {
        let next = self.busy.get_mut(key)?.pop_front();
        if next.is_none() {
            self.busy.remove(key);
        }
        next
    }

    /// Takes out everything that waits.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
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
        let mut serial = Serial::default();
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
    fn what_waits_can_be_taken_out() {
        let mut serial = Serial::default();
        serial.begin(&key("a"), 1);
        serial.begin(&key("a"), 2);
        serial.begin(&key("a"), 3);
        assert_eq!(serial.drain().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(serial.finish(&key("a")), None);
    }
}
