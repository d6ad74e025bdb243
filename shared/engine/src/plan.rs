//! A plan: a workflow version with its agent versions pinned, compiled. Shared by all runs that use it.

use std::time::Duration;

use kapelle_expression::{Expression, Template};
use kapelle_types::{AgentVersion, RetryPolicy, StepId, Usd, WorkflowVersion};

use crate::contract::Contract;
use crate::limits::TaskLimits;

/// The place of a step in [`Plan::steps`].
pub type StepIndex = usize;

/// What a run is decided by, beside its log. Immutable: it is built from manifests that never change.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The workflow version.
    pub workflow: WorkflowVersion,
    /// The steps in topological order: every step stands behind all that it needs.
    pub steps: Vec<PlanStep>,
    /// The workflow's output.
    pub output: Template,
    /// What that output has to be like; `None` if it may be anything.
    pub result: Option<Contract>,
    /// How long after its submission a run ends TIMED_OUT.
    pub deadline: Option<Duration>,
}

/// One step, ready to be decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanStep {
    /// Its id.
    pub id: StepId,
    /// The agent version that does it.
    pub agent: AgentVersion,
    /// The steps whose end it waits for; all stand before it. Every step that `when`, `foreach` or `with` refers to is
    /// among them or among their needs: so what an attempt gets is the same whenever it is computed.
    pub needs: Vec<StepIndex>,
    /// If present and false, the step is SKIPPED.
    pub when: Option<Expression>,
    /// If present, the step is done once for each item of this list.
    pub foreach: Option<Expression>,
    /// Members in flight at most; at least 1. Meaningless without `foreach`.
    pub max_parallel: u32,
    /// What the agent gets.
    pub with: Template,
    /// What the agent takes; `None` if it takes anything.
    pub input: Option<Contract>,
    /// What the agent gives; `None` if it may give anything.
    pub output: Option<Contract>,
    /// What one task of the agent may be given, may give and may use up.
    pub limits: TaskLimits,
    /// What all tasks of the agent version may cost together in one run; the same at each of its steps.
    pub cost_per_run: Option<Usd>,
    /// How failures are retried.
    pub retry: RetryPolicy,
    /// How long one attempt may run.
    pub timeout: Duration,
    /// What becomes of the run when the step gives up.
    pub on_give_up: OnGiveUp,
}

/// What becomes of a run when one of its steps gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnGiveUp {
    /// It is STALLED and waits for a person or a rule.
    #[default]
    Stall,
    /// It ends FAILED.
    Fail,
}
