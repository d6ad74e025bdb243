//! Subjects, typed: what Kapelle publishes to and what it reads, as values that print and parse.
//!
//! ```text
//!   kapelle.run.<p>.<run>.control|report               RunSubject      the run log
//!   kapelle.timer.<p>.<run>.<timer>                    TimerSubject    durable timers
//!   kapelle.fired.<p>.<run>                            TimerSubject    those that went off, on their way into the log
//!   kapelle.task.<agent>.<version>.<run>.<step>.<n>    TaskSubject     the task queue
//!   kapelle.waiting.<agent>.<version>.<run>.<step>.<n> TaskSubject     tasks that wait for their turn to be queued
//!   kapelle.words.<agent>.<version>.<run>              WordsSubject    what its models write, told and not kept
//!   kapelle.dead.<agent>.<version>.<run>.<step>        DeadSubject     dead letters
//!   kapelle.submit.<workflow>                          SubmitSubject   jobs without gRPC
//!   kapelle.spend.<agent>.<version>.<day>             spend           what an agent spent in a UTC day
//!   kapelle.event.<type>                               EventSubject    what anyone may want to hear about
//!   kapelle.audit.<component>.<verb>                   AuditSubject    who did, or was denied, what
//! ```
//!
//! Only this module puts these subjects together or takes them apart; core subjects that say nothing by themselves, and carry
//! signs that may be lost, stand beside their use in `kapelle-bus` and the coordinator. Parsing is strict: a value has one
//! spelling, so that a message on another one is never taken for a part of the same run.

mod audit;
mod event;
mod filter;
mod run;
mod spend;
mod task;
mod token;
mod words;

pub use audit::{AuditSubject, AuditWord};
pub use event::{EventSubject, EventType, SubmitSubject};
pub use filter::{
    audit_all, audit_filter, control_filter, dead_all, dead_filter, events_all, fired_all, fired_to_control,
    run_filter, runs_filter, submit_all, task_filter, tasks_all, timers_all, waiting_all, waiting_filter,
};
pub use run::{RunSubject, TimerSubject};
pub use spend::{spend, spend_all};
pub use task::{DeadSubject, TaskSubject};
pub use words::WordsSubject;

use kapelle_types::InvalidName;

/// A subject that is not of the form that it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{subject}` is not of the form `{form}`: look at its {part}")]
pub struct Error {
    /// The subject, cut to 200 characters.
    pub subject: String,
    /// The form that was expected.
    pub form: &'static str,
    /// The first part that is wrong, for example `partition`.
    pub part: &'static str,
    /// The rule that the part breaks, where it is a name.
    #[source]
    pub source: Option<InvalidName>,
}
