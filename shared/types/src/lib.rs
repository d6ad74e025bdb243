//! Plain values that every crate speaks in: ids, names, versions, time, payloads, limits and error codes.
//!
//! This crate owns no behaviour beyond parsing and printing its values. It never does IO, reads no clock and draws no
//! random numbers: whoever needs an id or a timestamp passes it in.

mod audit;
mod backoff;
mod caller;
mod canonical;
mod code;
pub mod duration;
mod error;
mod flow;
mod id;
pub mod limits;
mod money;
mod name;
mod partition;
mod payload;
mod printed;
mod rate;
mod step;
mod time;
mod web;

pub use audit::{AuditDecision, AuditRecord, AuditWhat, AuditWho};
pub use backoff::RetryPolicy;
pub use caller::{Caller, Role};
pub use canonical::canonical;
pub use code::Code;
pub use error::{Diagnosis, InvalidName};
pub use flow::{Fairness, Flow, KeyLimit, Priority};
pub use id::{Principal, RunId};
pub use money::Usd;
pub use name::{
    AgentName, AgentVersion, CaseName, FolderName, Namespace, QueryName, ScheduleName, SecretName, SignalName, StepId,
    TokenName, ToolName, UserName, Version, WorkflowName, WorkflowVersion,
};
pub use partition::{Partition, Partitions};
pub use payload::{Payload, PayloadRef, Sha256, json_bytes, json_depth};
pub use printed::printed;
pub use rate::Rate;
pub use step::{Attempt, StepRef, TaskId};
pub use time::Timestamp;
pub use web::{Host, WebUrl};
