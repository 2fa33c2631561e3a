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
    items: usize,
    places: usize,
    weight: usize,
}

/// What waits of one caller. Long items, which are done a piece at a time, take turns with the others; one that
/// was begun is finished before another is.
#[derive(Debug)]
struct Share<T> {
    caller: Caller,
    short: VecDeque<Item<T>>,
    /// Those that were begun, and then the others in their order.
    long: VecDeque<Item<T>>,
    /// Whose turn it is.
    long_next: bool,
    places: usize,
}

/// Something to be queued for a caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item<T> {
    pub(crate) caller: Caller,
    /// How many places it takes: one, or more if it is large. None any more once it was begun.
    pub(crate) places: usize,
    /// About how many signatures it is.
    pub(crate) weight: usize,
    /// Whether it is done a piece at a time.
    pub(crate) long: bool,
    pub(crate) of: T,
}

/// What became of what was to be queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Queued<T> {
    /// It waits.
    Waits,
    /// It waits in the place of these, the newest of who has most; nothing that was begun.
    Instead(Vec<Item<T>>),
    /// There is no room: nobody has so much more waiting than who asks.
    Full(Item<T>),
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { shares: VecDeque::new(), items: 0, places: 0, weight: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn len(&self) -> usize {
        self.items
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// About how many signatures wait.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Queues `item` behind what its caller has waiting, if that fits in `capacity` places or somebody
    /// would still have as many waiting as its caller after making room.
    pub(crate) fn push(&mut self, item: Item<T>, capacity: usize) -> Queued<T> {
        let lacking = (self.places + item.places).saturating_sub(capacity);
        if lacking == 0 {
            self.add(item, Share::push);
            return Queued::Waits;
        }
        let mine = self.shares.iter().find(|share| share.caller == item.caller);
        let mine = mine.map_or(0, |share| share.places) + item.places;
        let able = self.shares.iter_mut().filter(|share| share.can_spare(lacking, mine));
        let Some(most) = able.max_by_key(|share| share.places) else {
            return Queued::Full(item);
        };
        let mut evicted = Vec::new();
        let mut freed = 0;
        while freed < lacking
            && let Some(newest) = most.evict()
        {
            freed += newest.places;
            self.weight -= newest.weight;
            evicted.push(newest);
        }
        self.places -= freed;
        self.items -= evicted.len();
        self.shares.retain(|share| !share.is_empty());
        self.add(item, Share::push);
        Queued::Instead(evicted)
    }

    /// Queues what was begun and isn't finished, before what its caller has not begun. It was admitted, and
    /// takes no place away from others any more.
    pub(crate) fn put_back(&mut self, mut item: Item<T>) {
        item.places = 0;
        self.add(item, Share::put_back);
    }

    /// The next item: of the caller whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Item<T>> {
        let mut share = self.shares.pop_front()?;
        let item = share.pop()?;
        self.places -= item.places;
        self.weight -= item.weight;
        self.items -= 1;
        if !share.is_empty() {
            self.shares.push_back(share);
        }
        Some(item)
    }

    /// Everything that waits.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Item<T>> + use<T> {
        let shares = std::mem::take(self).shares.into_iter();
        shares.flat_map(|share| share.long.into_iter().chain(share.short))
    }

    fn add(&mut self, item: Item<T>, add: fn(&mut Share<T>, Item<T>)) {
        self.items += 1;
        self.places += item.places;
        self.weight += item.weight;
        if let Some(share) = self.shares.iter_mut().find(|share| share.caller == item.caller) {
            return add(share, item);
        }
        let mut share = Share::new(item.caller.clone());
        add(&mut share, item);
        self.shares.push_back(share);
    }
}

impl<T> Share<T> {
    fn new(caller: Caller) -> Self {
        let (short, long) = (VecDeque::new(), VecDeque::new());
        Self { caller, short, long, long_next: false, places: 0 }
    }

    fn is_empty(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    fn push(&mut self, item: Item<T>) {
        self.places += item.places;
        if item.long { &mut self.long } else { &mut self.short }.push_back(item);
    }

    fn put_back(&mut self, item: Item<T>) {
        self.places += item.places;
        // The oldest of several comes back first as a rule, and is to be finished first.
        let begun = self.long.iter().take_while(|item| item.places == 0).count();
        self.long.insert(begun, item);
    }

    fn pop(&mut self) -> Option<Item<T>> {
        let long = !self.long.is_empty() && (self.long_next || self.short.is_empty());
        self.long_next = !long;
        let item = if long { &mut self.long } else { &mut self.short }.pop_front()?;
        self.places -= item.places;
        Some(item)
    }

    /// Whether as many places can be freed and as many be left, each at least.
    fn can_spare(&self, lacking: usize, left: usize) -> bool {
        let mut freed = 0;
        for item in self.newest_first() {
            if freed >= lacking {
                break;
            }
            freed += item.places;
        }
        freed >= lacking && self.places - freed >= left
    }

    /// What may be evicted, in that order. Long items are first: fewer callers have to ask again.
    fn newest_first(&self) -> impl Iterator<Item = &Item<T>> {
        let long = self.long.iter().rev().take_while(|item| item.places > 0);
        long.chain(self.short.iter().rev())
    }

    /// Takes the first of [`Share::newest_first`].
    fn evict(&mut self) -> Option<Item<T>> {
        let long = self.long.back().is_some_and(|item| item.places > 0);
        let item = if long { &mut self.long } else { &mut self.short }.pop_back()?;
        self.places -= item.places;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn item<T>(caller: &str, of: T) -> Item<T> {
        Item { caller: Caller::new(caller.into()), places: 1, weight: 1, long: false, of }
    }

    fn order<T>(queue: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).map(|item| item.of).collect()
    }

    #[test]
    fn callers_take_turns() {
        let mut queue = FairQueue::default();
        for name in ["a1", "a2", "a3"] {
            assert_eq!(queue.push(item("a", name), 9), Queued::Waits);
        }
        queue.push(item("b", "b1"), 9);
        queue.push(item("c", "c1"), 9);
        assert_eq!(order(&mut queue), ["a1", "b1", "c1", "a2", "a3"]);
    }

    #[test]
    fn a_flood_makes_room_for_others_and_not_for_itself() {
        let mut queue = FairQueue::default();
        for number in 0..4 {
            queue.push(item("flood", number), 4);
        }
        assert_eq!(queue.push(item("flood", 4), 4), Queued::Full(item("flood", 4)));
        for (number, evicted) in [(10, 3), (11, 2)] {
            let evicted = vec![item("flood", evicted)];
            assert_eq!(queue.push(item("single", number), 4), Queued::Instead(evicted));
        }
        // Both have two now: nobody has more than the other.
        assert_eq!(queue.push(item("single", 12), 4), Queued::Full(item("single", 12)));
        assert_eq!(order(&mut queue), [0, 10, 1, 11]);
    }

    #[test]
    fn a_large_item_makes_room_only_where_as_much_is_left() {
        let mut queue = FairQueue::default();
        let large = |name, of| Item { places: 4, ..item(name, of) };
        queue.push(large("big", 0), 8);
        for number in 1..5 {
            queue.push(item("flood", number), 8);
        }
        // Who has one large item, and just as much as the flood, keeps it.
        assert_eq!(queue.push(item("flood", 9), 8), Queued::Full(item("flood", 9)));
        assert_eq!(queue.push(large("big", 9), 8), Queued::Full(large("big", 9)));
        assert!(matches!(queue.push(item("single", 5), 8), Queued::Instead(_)));
        assert_eq!(order(&mut queue).len(), 5);
    }

    #[test]
    fn a_caller_finishes_what_it_began_and_its_short_items_take_turns_with_it() {
        let long = |of| Item { places: 2, weight: 40, long: true, ..item("a", of) };
        let mut queue = FairQueue::default();
        for name in ["first", "second"] {
            queue.push(long(name), 9);
        }
        let mut first = queue.pop().unwrap();
        first.weight = 20;
        queue.put_back(first);
        for name in ["single", "another"] {
            queue.push(item("a", name), 9);
        }
        assert_eq!((queue.weight(), queue.places), (62, 4));
        // It is not evicted any more, and takes no room.
        let evicted = vec![long("second")];
        assert_eq!(queue.push(item("b", "b"), 4), Queued::Instead(evicted));
        assert_eq!(order(&mut queue), ["single", "b", "first", "another"]);
        assert_eq!((queue.weight(), queue.places), (0, 0));
    }

    proptest! {
        /// Nothing is lost, nothing is there twice, nobody's order changes, and it is never fuller
        /// than it may be.
        #[test]
        fn what_goes_in_comes_out_once(
            steps in vec((0_u8..4, 1_usize..4, any::<bool>(), 0_u8..3), 0..200),
            capacity in 1_usize..20,
        ) {
            let mut queue = FairQueue::default();
            let (mut inside, mut out, mut begun) = (Vec::new(), Vec::new(), Vec::new());
            for (number, (who, places, long, step)) in steps.into_iter().enumerate() {
                match step {
                    0 => out.extend(queue.pop().map(|item| item.of)),
                    // A piece of a long one is done.
                    1 => match queue.pop() {
                        Some(item) if item.long => {
                            begun.push(item.of);
                            queue.put_back(item);
                        }
                        item => out.extend(item.map(|item| item.of)),
                    },
                    _ => {
                        let of = (who, long, number);
                        let new = Item { places, long, ..item(&who.to_string(), of) };
                        match queue.push(new, capacity) {
                            Queued::Waits => inside.push(of),
                            Queued::Instead(evicted) => {
                                for Item { of: evicted, .. } in evicted {
                                    prop_assert!(inside.contains(&evicted));
                                    prop_assert!(!out.contains(&evicted));
                                    prop_assert!(!begun.contains(&evicted));
                                    inside.retain(|item| *item != evicted);
                                }
                                inside.push(of);
                            }
                            Queued::Full(item) => prop_assert_eq!(item.of, of),
                        }
                    }
                }
                prop_assert!(queue.places <= capacity);
                prop_assert_eq!(queue.len() + out.len(), inside.len());
                prop_assert_eq!(queue.weight(), queue.len());
            }
            out.extend(order(&mut queue));
            prop_assert!(queue.is_empty() && queue.places == 0);
            for (who, long) in (0..4).flat_map(|who| [(who, false), (who, true)]) {
                let of = |items: &[(u8, bool, usize)]| -> Vec<_> {
                    let own = items.iter().filter(|item| (item.0, item.1) == (who, long));
                    own.copied().collect()
                };
                prop_assert_eq!(of(&inside), of(&out));
            }
        }
    }
}
