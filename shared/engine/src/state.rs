//! A run's state: what its entries so far add up to.
//!
//! ```text
//!  a run                                               retry requested, or a late success
//!                                              ┌──────────────────────────────────────────┐
//!                                              ▼     a step gave up, an expression failed  │
//!  PENDING ──submitted──▶ RUNNING ◀──────▶ WAITING ───────────────────────────────▶ STALLED
//!                          │   ▲   nothing in flight,                                  │
//!                    pause │   │ resume   a retry timer is pending                     │
//!                          ▼   │                                                       │
//!                          PAUSED                                                      │
//!                            │                                                         │
//!        every step SUCCEEDED or SKIPPED ─▶ COMPLETED                                  │
//!        a step gave up with `on_give_up: fail` ─▶ FAILED ◀── fail requested ──────────┘
//!        cancel ─▶ CANCELED    terminate ─▶ TERMINATED    deadline timer ─▶ TIMED_OUT      from any open state
//!
//!  a step
//!                                             ┌─▶ SKIPPED      `when` is false
//!  WAITING ──its needs ended──▶ PENDING ──────┼─▶ STALLED      `when`, `foreach` or `with` failed ──retry──▶ PENDING
//!                          (held by a pause)  │
//!                                             ├─▶ one slot, or one slot a member of the foreach:
//!                                             │
//!                                             │   Due ──▶ InFlight ──succeeded──▶ Done
//!                                             │    ▲         │ failed: may try again
//!                                             │    │         ├──────▶ Retrying ──timer──▶ Due
//!                                             │    │         ├──────▶ Due         lost, given back, or no delay
//!                                             │    │         └──────▶ GaveUp      dead letter
//!                                             │    └───retry requested───┘
//!                                             │   Due ──▶ Done        a value, a switch, a signal that was there
//!                                             │   Due ──▶ Awaiting ──its time, its signal──▶ Done     or GaveUp
//!                                             │   Done ──▶ Due        not good enough (`repeat`), or another agent's turn (`handoff`)
//!                                             │   a success of any attempt so far leads from each of them to Done
//!                                             ├─▶ SUCCEEDED    every slot is Done
//!                                             └─▶ GAVE_UP      with `on_give_up: continue`; a member is Done, with null
//! ```
//!
//! Before it ends otherwise than TERMINATED a run may be closing, RUNNING or STALLED: see `closing.rs` of the crate.
//!
//! STALLED stops nothing else: steps and members that do not depend on what gave up go on, and the run stays STALLED
//! until that is retried, failed or answered by a late success. STALLED is shown before PAUSED, PAUSED before WAITING.

mod chain;
mod closing;
mod family;
mod halt;
mod origin;
mod place;
mod run;
mod slot;
mod step;
mod summary;
mod transfer;

use std::fmt;

pub(crate) use chain::Chains;
pub(crate) use closing::Closing;
pub(crate) use family::passed_on;
pub(crate) use halt::Halt;
pub(crate) use origin::Origin;
pub(crate) use place::{Place, fold, seed};
pub use run::Run;
pub(crate) use run::Stage;
pub(crate) use slot::{Slot, SlotState};
pub(crate) use step::{FanOut, StepState};
pub use summary::{Members, StepStatus, StepSummary};
pub(crate) use summary::{is_over, status};

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

impl RunStatus {
    /// The status as people read it: `TIMED_OUT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Waiting => "WAITING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
            Self::Terminated => "TERMINATED",
            Self::TimedOut => "TIMED_OUT",
            Self::Stalled => "STALLED",
        }
    }

    /// Whether a run with this status is over.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Canceled | Self::Terminated | Self::TimedOut => true,
            Self::Pending | Self::Running | Self::Paused | Self::Waiting | Self::Stalled => false,
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
