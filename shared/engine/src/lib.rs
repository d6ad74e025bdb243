//! The pure core: a run's state, the entries that change it, the commands that it answers with.
//!
//! ```text
//!   RUN LOG ──Entry──▶ apply(run, entry, stamp) ──▶ Decision { commands, ignored }
//!                      outstanding(run, now)    ──▶ Vec<Command>      recovery and reconciler
//! ```
//!
//! This crate does no IO, reads no clock and draws no random number: time is the log's timestamp, seeds derive from the
//! run id. `apply` is total: any entry on any state is legal, ignored for a named reason, or stalls the run with a reason.

mod command;
mod entry;
mod plan;
mod state;

pub use command::{Command, DeadLetter, DispatchTask, FinishRun, TimerId};
pub use entry::{
    Body, Channel, Entry, Failure, FailureKind, Pin, Record, RunFinished, RunSubmitted, Stamp, StepFailed, StepSucceeded,
    Usage, Work,
};
pub use plan::{OnGiveUp, Plan, PlanStep, StepIndex};
pub use state::RunStatus;
