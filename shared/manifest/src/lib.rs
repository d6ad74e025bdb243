//! Manifests: `Agent` and `Workflow` as people write them, and everything that can be known about them before they run.
//!
//! ```text
//!   text of a file ──parse──▶ Sourced { manifest, places } ──check(catalog)──▶ Problems (code, line, column, hint)
//!                                    │
//!                                    └─ manifest ──canonical──▶ JSON that the registry stores ──▶ manifest
//! ```
//!
//! The CLI parses and checks files; the coordinator checks what it is given again, without lines; engine and workers use
//! the values. This crate does no IO: text comes in, values go out. No text makes it panic.

mod access;
mod act;
mod agent;
mod approval;
mod broken;
mod call;
mod catalog;
mod change;
mod check;
mod contracts;
mod flow;
mod graph;
mod handoff;
mod issue;
mod join;
mod last;
mod limits;
mod manifest;
mod metadata;
mod model;
mod order;
mod performer;
mod problem;
mod read;
mod repeat;
mod retry;
mod risk;
mod roles;
mod schedule;
mod signal;
mod size;
mod sourced;
mod spans;
mod step;
mod workflow;
mod write;
mod yaml;

pub use access::{Access, Granted, Network, Resources};
pub use act::{Act, Case, Wait};
pub use agent::{Agent, AgentSpec, Process, Protocol, Role, Runtime};
pub use approval::{Approval, Rung};
pub use broken::{Breakage, Broken, broken, keeps_workflows};
pub use call::{Call, WorkflowRequirement};
pub use catalog::{Agents, Catalog, Current, Layered, capabilities, capable, highest_of};
pub use change::{Change, Side, changes, keeps_promise, may_replace, next_breaking, predecessor};
pub use check::{Misfit, check, misfits, warnings};
pub use contracts::schema_digest;
pub use flow::{ByKey, Fairness};
pub use graph::{Above, Graph, Loss, Use};
pub use handoff::Handoff;
pub use join::{Join, MaxFailures};
pub use kapelle_contract::{Checker, Contract, Difference, InvalidSchema, Verdict, Violation, infer};
pub use limits::{CONCURRENCY_DEFAULT, CONCURRENCY_MAX, Limits};
pub use manifest::{API_VERSION, Manifest};
pub use metadata::Metadata;
pub use model::{HttpTool, Method, Model, Price, SecretRef, Tool};
pub use order::Cycle;
pub use performer::{AgentRequirement, InvalidRequirement, Nobody, Performer, Requirement};
pub use problem::Problem;
pub use repeat::{OnMax, Repeat};
pub use risk::Risk;
pub use roles::{Fault, Finding, Severity, findings};
pub use schedule::{Schedule, schedules};
pub use signal::Signal;
pub use sourced::{Sourced, documents, parse};
pub use step::{InCase, OnGiveUp, Step};
pub use workflow::{Continuation, Workflow, WorkflowSpec};
