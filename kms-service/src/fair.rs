//! A bounded queue that is fair to callers: they take turns, and when it is full, room for one who has
//! little in it is made by who has most.

use std::collections::VecDeque;

use crate::Caller;

/// What waits, by caller, in the order of their turns.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// Those who have something waiting; the first one's turn is next. There are as many callers as a
    /// node has services, so looking through them is cheap.
    shares: VecDeque<Share<T>>,
    waiting: usize,
}

#[derive(Debug)]
struct Share<T> {
    caller: Caller,
    waiting: VecDeque<T>,
}

/// What became of what was to be queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Queued<T> {
    /// It waits.
    Waits,
    /// It waits in the place of this, the newest of who has most.
    Instead(T),
    /// There is no room: nobody has more waiting than who asks.
    Full(T),
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { shares: VecDeque::new(), waiting: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Queues `item` behind what `caller` has waiting, if fewer than `capacity` wait or somebody has
    /// more waiting than `caller` would have.
    pub(crate) fn push(&mut self, caller: &Caller, item: T, capacity: usize) -> Queued<T> {
        let share = self.shares.iter().position(|share| share.caller == *caller);
        if self.waiting < capacity {
            self.waiting += 1;
            self.append(share, caller, item);
            return Queued::Waits;
        }
        let mine = share.map_or(0, |at| self.shares[at].waiting.len());
        let most = self.shares.iter_mut().max_by_key(|share| share.waiting.len());
        match most {
            Some(most) if most.waiting.len() > mine + 1 => match most.waiting.pop_back() {
                Some(evicted) => {
                    self.append(share, caller, item);
                    Queued::Instead(evicted)
                }
                None => Queued::Full(item),
            },
            _ => Queued::Full(item),
        }
    }

    /// The next item: the oldest of the caller whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let mut share = self.shares.pop_front()?;
        let item = share.waiting.pop_front();
        if !share.waiting.is_empty() {
            self.shares.push_back(share);
        }
        self.waiting -= usize::from(item.is_some());
        item
    }

    /// Everything that waits.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.waiting = 0;
        std::mem::take(&mut self.shares).into_iter().flat_map(|share| share.waiting)
    }

    fn append(&mut self, share: Option<usize>, caller: &Caller, item: T) {
        match share.and_then(|at| self.shares.get_mut(at)) {
            Some(share) => share.waiting.push_back(item),
            None => {
                let (caller, waiting) = (caller.clone(), VecDeque::from([item]));
                self.shares.push_back(Share { caller, waiting });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn caller(name: &str) -> Caller {
        Caller::new(name.into())
    }

    #[test]
    fn callers_take_turns() {
        let mut queue = FairQueue::default();
        for item in ["a1", "a2", "a3"] {
            assert_eq!(queue.push(&caller("a"), item, 9), Queued::Waits);
        }
        queue.push(&caller("b"), "b1", 9);
        queue.push(&caller("c"), "c1", 9);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "a3"]);
    }

    #[test]
    fn a_flood_makes_room_for_others_and_not_for_itself() {
        let mut queue = FairQueue::default();
        for item in 0..4 {
            queue.push(&caller("flood"), item, 4);
        }
        assert_eq!(queue.push(&caller("flood"), 4, 4), Queued::Full(4));
        assert_eq!(queue.push(&caller("single"), 10, 4), Queued::Instead(3));
        assert_eq!(queue.push(&caller("single"), 11, 4), Queued::Instead(2));
        // Both have two now: nobody has more than the other.
        assert_eq!(queue.push(&caller("single"), 12, 4), Queued::Full(12));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 10, 1, 11]);
    }

    proptest! {
        /// Nothing is lost, nothing is there twice, nobody's order changes, and it is never fuller
        /// than it may be.
        #[test]
        fn what_goes_in_comes_out_once(
            steps in vec((0_u8..4, any::<bool>()), 0..200),
            capacity in 1_usize..20,
        ) {
            let mut queue = FairQueue::default();
            let (mut inside, mut out) = (Vec::new(), Vec::new());
            for (number, (who, pops)) in steps.into_iter().enumerate() {
                if pops {
                    out.extend(queue.pop());
                    continue;
                }
                match queue.push(&caller(&who.to_string()), (who, number), capacity) {
                    Queued::Waits => inside.push((who, number)),
                    Queued::Instead(evicted) => {
                        prop_assert!(inside.contains(&evicted) && !out.contains(&evicted));
                        inside.retain(|item| *item != evicted);
                        inside.push((who, number));
                    }
                    Queued::Full(item) => prop_assert_eq!(item, (who, number)),
                }
                prop_assert!(queue.len() <= capacity);
            }
            out.extend(std::iter::from_fn(|| queue.pop()));
            prop_assert!(queue.is_empty());
            for who in 0..4 {
                let of = |items: &[(u8, usize)]| -> Vec<_> {
                    items.iter().filter(|item| item.0 == who).copied().collect()
                };
                prop_assert_eq!(of(&inside), of(&out));
            }
        }
    }
}
