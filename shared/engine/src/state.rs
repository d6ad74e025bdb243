//! A run's state: what its entries so far add up to.

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunStatus {
    /// Nothing was applied yet.
    Pending,
    /// Attempts are queued or running.
    Running,
    /// Somebody holds new steps.
    Paused,
    /// Nothing is queued; it waits for a timer.
    Waiting,
    /// Ended with an output.
    Completed,
    /// Ended because a step gave up or somebody said so.
    Failed,
    /// Ended by request, in order.
    Canceled,
    /// Ended by request, at once.
    Terminated,
    /// Ended by its deadline.
    TimedOut,
    /// Waits for somebody to repair something; it has a reason.
    Stalled,
}
