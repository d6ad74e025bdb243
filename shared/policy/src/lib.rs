//! Who may do what: Cedar policies, the decisions that they make, and the NATS permissions that follow from them.
//!
//! ```text
//!   policies/*.cedar ──load, validate──▶ Policies ──decide(caller, action, resource)──▶ Decision: allow or deny, by which
//!                                           │                                           policy, and why
//!                                           └── permissions(caller, place): the same question for every class of subjects
//! ```
//!
//! Default deny, a forbid wins, and whatever cannot be evaluated is denied. The coordinator's API asks `decide`; whoever sets
//! up accounts at the broker takes `permissions`; `kapelle policy …` shows both. This crate owns what a policy may speak of
//! (`policies/kapelle.cedarschema`) and the table of all subjects that Kapelle's parts use. It never does IO, knows no
//! time, and never establishes who a caller is. No other crate names `cedar-policy`: it is the slowest one to build.

mod action;
mod bounds;
mod decision;
mod matrix;
mod memo;
mod pattern;
mod permissions;
mod policies;
mod problem;
mod recorded;
mod resource;
mod rule;
mod subjects;
mod vocabulary;
mod weaken;

pub use action::Action;
pub use decision::{DEFAULT_DENY, Decision, UNDECIDABLE, UNKNOWN_ACTION, Verdict};
pub use matrix::{breaches, matrix};
pub use pattern::covers;
pub use permissions::{Agents, Permissions, Place, Rules, permissions};
pub use policies::Policies;
pub use problem::{Invalid, Problem};
pub use recorded::{Difference, Recorded};
pub use resource::Resource;
pub use rule::{Effect, Mode, Rule};
pub use subjects::{CLASSES, Class};
pub use weaken::{CHANGES, reserved, weakened};
