//! In tests only: counts elementary operations, so that a test can say "not quadratic" without a clock.

use std::cell::Cell;

thread_local! {
    static OPERATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts some operations.
pub(crate) fn count(operations: u64) {
    OPERATIONS.with(|n| n.set(n.get() + operations));
}

/// What was counted in this thread since the last time this was asked.
pub(crate) fn taken() -> u64 {
    OPERATIONS.with(Cell::take)
}
