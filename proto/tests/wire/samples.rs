//! One value of every message with every field set, and one for each arm of a oneof. Released samples never change.

mod approvals;
mod audit;
mod deadletters;
mod fleet;
mod log;
mod releases;
mod runs;
mod schedules;
mod standing;
mod task;
mod tokens;
mod words;

use crate::golden::Sample;

/// Every sample there is.
pub(crate) fn all() -> Vec<Sample> {
    [
        log::samples(),
        task::samples(),
        words::samples(),
        runs::samples(),
        runs::verbs(),
        deadletters::samples(),
        fleet::samples(),
        tokens::samples(),
        audit::samples(),
        schedules::samples(),
        releases::samples(),
        standing::samples(),
        approvals::samples(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `2026-11-22T08:00:00Z` and some seconds, in nanoseconds.
fn at(seconds: i64) -> i64 {
    (1_795_334_400 + seconds) * 1_000_000_000
}

const RUN: &str = "0192f3c4-5a6b-7c8d-9e0f-112233445566";
