//! The pure core: a run's state, the entries that change it, the commands that it answers with.
//!
//! ```text
//!   RUN LOG ──Entry──▶ apply(run, entry, channel, stamp) ──▶ Decision { commands, ignored }
//!                      outstanding(run, now)             ──▶ Vec<Command>      recovery and reconciler
//! ```
//!
//! This crate does no IO, reads no clock and draws no random number: time is the log's timestamp, seeds derive from the
//! run id. `apply` is total: any entry on any state is legal, ignored for a named reason, or stalls the run with a reason.
//!
//! Where to look: `apply/<entry>.rs` has the rules of an entry kind, `state.rs` the picture of the states, `turn.rs` how
//! steps start and end, `invariant.rs` what always holds.

mod act;
mod apply;
mod approval;
pub mod behaviour;
mod closing;
mod command;
mod contract;
#[cfg(test)]
mod cost;
mod entry;
mod failure;
mod finish;
mod flow;
mod fork;
mod handoff;
mod ignored;
pub mod invariant;
mod joins;
mod limits;
mod outstanding;
mod plan;
#[cfg(test)]
mod properties;
mod query;
mod rounds;
mod scope;
mod signals;
mod spending;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod token;
mod turn;
mod waits;
mod weight;

pub use apply::{Decision, apply};
pub use approval::Held;
pub use command::{
    CheckApproval, Command, Continues, DeadLetter, DispatchTask, EmitEvent, FinishRun, ReportOutcome, StartRun,
    StopRun, TimerId,
};
pub use contract::{Check, Contract};
pub use entry::{
    ApprovalChecked, ApprovalDecided, Body, Channel, Decider, Entry, Failure, FailureKind, Kept, KeptOutcome, Parent,
    Pin, Record, RunFinished, RunSubmitted, SignalReceived, Stamp, StepFailed, StepSucceeded, Usage, Verdict, Work,
    WorkflowPin,
};
pub use flow::{ByKey, Flowing, Sharing};
pub use fork::{NotKept, keep};
pub use ignored::Ignored;
pub use invariant::Violation;
pub use limits::TaskLimits;
pub use outstanding::outstanding;
pub use plan::{
    Act, Actor, AgentAct, Approval, AwaitSignal, Bond, Case, Handoff, Join, MaxFailures, OnGiveUp, Phase, Plan,
    PlanStep, Repeat, Rung, StepIndex, Wait, WorkflowAct,
};
pub use state::{Members, Run, RunStatus, StepStatus, StepSummary};
pub use token::{KeyId, RunKey, SigningKey, TaskToken};
pub use waits::{AgentWait, Mending, Waits, waits};
