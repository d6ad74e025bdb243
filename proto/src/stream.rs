//! The names of the streams. What they hold and how they are set up is declared in `shared/bus`.

use kapelle_types::Partition;

/// The queue of dispatched tasks; derived from the run logs, never the only copy of anything.
pub const TASKS: &str = "TASKS";
/// Tasks that wait for their turn to be queued; derived as well.
pub const WAITING: &str = "WAITING";
/// Jobs that were published straight to the broker.
pub const SUBMIT: &str = "SUBMIT";
/// Steps that gave up.
pub const DEAD: &str = "DEAD";
/// What agents with a `cost_per_day` have spent: counters.
pub const SPEND: &str = "SPEND";
/// What anyone may want to hear about.
pub const EVENTS: &str = "EVENTS";
/// Who did, or was denied, what.
pub const AUDIT: &str = "AUDIT";
/// Timers, derived from the run logs, and those that went off.
pub const TIMERS: &str = "TIMERS";

/// The stream of a partition's run logs: `RUNS_3`.
#[must_use]
pub fn runs(partition: Partition) -> String {
    format!("RUNS_{partition}")
}
