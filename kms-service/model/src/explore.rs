//! How orders of events are tried.

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// Orders by pure chance, and as many by PCT: few changes of thread, at the places that a bug needs.
const ORDERS: usize = 2_000;

/// How many such places PCT looks for at once.
const DEPTH: usize = 3;

/// Bytes of stack of each thread.
const STACK: usize = 256 * 1024;

/// Runs `scenario` in many orders of events. One that fails is printed, for
/// [`shuttle::replay`].
///
/// # Panics
/// As `scenario` does in one of the orders, or when threads wait for one another for ever.
pub fn explore(scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK;
    Runner::new(RandomScheduler::new(ORDERS), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(DEPTH, ORDERS), config).run(scenario);
}
