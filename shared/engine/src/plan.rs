//! A plan: a workflow version with its agent versions pinned, compiled. Shared by all runs that use it.

mod actor;

use std::collections::BTreeMap;
use std::time::Duration;

use kapelle_expression::{Expression, Template};
use kapelle_types::{
    AgentVersion, CaseName, Payload, QueryName, RetryPolicy, SignalName, StepId, Timestamp, Usd, WorkflowVersion,
};

use crate::contract::Contract;
use crate::flow::{ByKey, Flowing};
use crate::limits::TaskLimits;

pub use actor::{Actor, Handoff};
pub(crate) use actor::{ActorIndex, Doing};

/// The place of a step in [`Plan::steps`].
pub type StepIndex = usize;

/// What a run is decided by, beside its log. Immutable: it is built from manifests that never change.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The workflow version.
    pub workflow: WorkflowVersion,
    /// The steps in topological order: every step stands behind all that it needs.
    pub steps: Vec<PlanStep>,
    /// The signals that its runs take, each with what it has to be like; `None` if it may be anything.
    pub signals: BTreeMap<SignalName, Option<Contract>>,
    /// What may be asked of its runs while they go on and afterwards; decides nothing.
    pub queries: BTreeMap<QueryName, Template>,
    /// What those are answered who tell a run one of these signals and wait for what becomes of it.
    pub answers: BTreeMap<SignalName, Template>,
    /// The workflow's output.
    pub output: Template,
    /// What that output has to be like; `None` if it may be anything.
    pub result: Option<Contract>,
    /// How long after its submission a run ends TIMED_OUT.
    pub deadline: Option<Duration>,
    /// How long a run may be closing, see [`Phase`].
    pub close_within: Duration,
    /// How attempts stand among others, if it says anything of that.
    pub flow: Option<Box<Flowing>>,
}

/// One step, ready to be decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanStep {
    /// Its id.
    pub id: StepId,
    /// When in a run's life it is done.
    pub phase: Phase,
    /// What is done.
    pub act: Act,
    /// The steps whose end it waits for; all stand before it. Every step that `when`, `foreach` or `with` refers to is
    /// among them or among their needs: so what an attempt gets is the same whenever it is computed.
    pub needs: Vec<StepIndex>,
    /// If present, the step waits for some of its needs only.
    pub join: Option<Join>,
    /// The switch and the case of it in which the step is done; in every other it is SKIPPED. The switch is among `needs`.
    pub case: Option<(StepIndex, CaseName)>,
    /// If present and false, the step is SKIPPED.
    pub when: Option<Expression>,
    /// If present, the step is done once for each item of this list.
    pub foreach: Option<Expression>,
    /// Members in flight at most; at least 1. Meaningless without `foreach`.
    pub max_parallel: u32,
    /// Items of the list that one member works on, if they are more than one: its item is a list then.
    pub batch: Option<u32>,
    /// Members that may give up before the step does: their output is null.
    pub max_failures: Option<MaxFailures>,
    /// What it works on: an agent's input, an event's data, a value, the time that a wait is for.
    pub with: Template,
    /// What it takes; `None` if it takes anything.
    pub input: Option<Contract>,
    /// What it gives; `None` if it may give anything.
    pub output: Option<Contract>,
    /// If present, the step is done again after a success, until that is good enough.
    pub repeat: Option<Repeat>,
    /// If present, other agents may go on with the step after a success; in a step of one slot that is not repeated.
    pub handoff: Option<Box<Handoff>>,
    /// How failures are retried.
    pub retry: RetryPolicy,
    /// How long one attempt may run.
    pub timeout: Duration,
    /// What becomes of the run when the step gives up.
    pub on_give_up: OnGiveUp,
    /// Who has to agree before an attempt is begun.
    pub approve: Option<Box<Approval>>,
    /// The priority of its attempts, instead of the run's.
    pub priority: Option<Template>,
}

/// When in a run's life a step is done: for its work, or while it is closing.
///
/// The steps of closing stand behind those of the work, need nothing and are done one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// As soon as its needs have ended.
    #[default]
    Work,
    /// When the run is to end otherwise than COMPLETED, if that step succeeded: what succeeded last is undone first.
    Compensation(StepIndex),
    /// After the compensations, if the run is to end otherwise than COMPLETED; in the plan's order.
    OnFailure,
    /// Last, however the run is to end; in the plan's order.
    Finally,
}

/// Waiting for some steps only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The steps that are joined. They are among the step's needs, and nobody else's.
    pub of: Vec<StepIndex>,
    /// How many of them have to succeed; at least 1. Then the others are taken back.
    pub quorum: usize,
}

/// How many members of a `foreach` may give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxFailures {
    /// So many.
    Count(u32),
    /// So many of a hundred members, rounded down.
    Percent(u32),
}

impl MaxFailures {
    /// How many of so many members may give up.
    #[must_use]
    pub fn of(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let share = u64::from(total) * u64::from(percent) / 100;
                u32::try_from(share).unwrap_or(u32::MAX)
            }
        }
    }
}

/// Doing a step again after it succeeded, in rounds. Attempts go on counting; each round has a retry budget of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeat {
    /// Whether the round that has just succeeded was the last; it sees the round's `output`, and `last` and `round` as `with`
    /// does.
    pub until: Expression,
    /// Rounds at most.
    pub max: u32,
    /// Whether the output of the last of them is taken if `until` does not hold; the step gives up otherwise.
    pub accept: bool,
}

/// What a step does, once its needs have ended and its `when` allows it.
///
/// | act | an attempt is | it ends |
/// |---|---|---|
/// | `Agent` | a task in the queue of the agent version | by the worker's report |
/// | `Emit` | an event to be published | by the coordinator's report that it was |
/// | `Workflow` | a run of that workflow | by the coordinator's report on its end, or that it was begun |
/// | `Value`, `Switch` | nothing: `with`, or the name of a case, is the output | at once |
/// | `Wait` | a durable timer | when it goes off |
/// | `Signal` | a place in the line for that signal, with a timer if it has a timeout | when a signal comes, or came before |
/// | `Approval` | a question to people, with a timer | when enough of them agree |
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// An agent works.
    Agent(Box<AgentAct>),
    /// Something is told to whoever subscribes: a CloudEvent of this type with `with` as its data.
    Emit(String),
    /// Another workflow is run.
    Workflow(Box<WorkflowAct>),
    /// Nothing but an expression.
    Value,
    /// One of several cases is chosen; the first that applies.
    Switch(Vec<Case>),
    /// Time passes.
    Wait(Wait),
    /// Somebody outside has to say something.
    Signal(AwaitSignal),
    /// People have to agree to `with`.
    Approval(Box<Approval>),
}

/// An agent's work.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentAct {
    /// The agent version that does it.
    pub version: AgentVersion,
    /// What one task of the agent may be given, may give and may use up.
    pub limits: TaskLimits,
    /// What all tasks of the agent version may cost together in one run; the same at each of its steps.
    pub cost_per_run: Option<Usd>,
    /// What limits its tasks by key.
    pub by_key: Option<Box<ByKey>>,
}

/// Another workflow's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowAct {
    /// The workflow version.
    pub version: WorkflowVersion,
    /// How the two runs hang together.
    pub bond: Bond,
}

/// How a run and the one that it begins hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// The attempt ends with the other run.
    Awaited,
    /// Nobody waits for the other run: the step has ended when it is begun.
    Detached,
    /// The other run goes on in the place of this one, which has nothing else to do any more.
    Continued,
}

/// A case of a switch.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name: the step's output if it is taken.
    pub name: CaseName,
    /// When it is; `None` takes it always.
    pub when: Option<Expression>,
}

/// How the `with` of a wait is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// As a duration from here on: `1h30m`, or a number of seconds.
    For,
    /// As a point in time: RFC 3339.
    Until,
}

/// Which signal is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitSignal {
    /// Its name.
    pub name: SignalName,
    /// How long; the step gives up then.
    pub timeout: Option<Duration>,
}

/// Whose word is waited for, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// What is asked, in one line.
    pub title: String,
    /// Why it is asked; empty if nobody said.
    pub reason: String,
    /// The groups whose members may decide; anybody who may decide at all if it is empty.
    pub groups: Vec<String>,
    /// How many persons have to agree; at least 1.
    pub quorum: u32,
    /// How long is waited. Then it is denied.
    pub expires: Duration,
    /// How long after it was asked those who may decide are told once more: for whoever tells them.
    pub remind: Vec<Duration>,
    /// Who may decide too if nobody has for a while, the first rung first.
    pub escalate: Vec<Rung>,
    /// Whether the person who submitted the run may agree.
    pub self_approval: bool,
}

/// A rung of an approval's ladder: it widens who may decide, and decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// How long after it was asked.
    pub after: Duration,
    /// The groups whose members may decide from then on too.
    pub to: Vec<String>,
}

impl Approval {
    /// The groups whose members may decide at a time, of what was asked at another; none if anybody may who may decide at all.
    pub fn groups_at(&self, asked_at: Timestamp, now: Timestamp) -> impl Iterator<Item = &str> {
        let reached = self.escalate.iter().filter(move |rung| asked_at.plus(rung.after) <= now);
        self.groups.iter().chain(reached.flat_map(|rung| &rung.to)).map(String::as_str)
    }
}

impl Plan {
    /// How a signal breaks its contract: `Some(None)` if it does not, `None` if its runs take no such signal.
    #[must_use]
    #[allow(clippy::option_option, reason = "declared or not, then broken or not")]
    pub fn signal_violation(&self, name: &SignalName, payload: &Payload) -> Option<Option<String>> {
        let contract = self.signals.get(name)?;
        Some(contract.as_ref().and_then(|contract| contract.violation(payload)))
    }
}

impl Plan {
    /// The step that undoes this one.
    pub(crate) fn compensation(&self, step: StepIndex) -> Option<StepIndex> {
        self.steps.iter().position(|planned| planned.phase == Phase::Compensation(step))
    }
}

impl Act {
    /// Whether its attempts end by reports.
    #[must_use]
    pub const fn is_reported(&self) -> bool {
        match self {
            Self::Agent(_) | Self::Emit(_) | Self::Workflow(_) => true,
            Self::Value | Self::Switch(_) | Self::Wait(_) | Self::Signal(_) | Self::Approval(_) => false,
        }
    }

    /// Its name, as manifests have it; an agent's work by `capability` is `agent` too.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Emit(_) => "emit",
            Self::Workflow(_) => "workflow",
            Self::Value => "value",
            Self::Switch(_) => "switch",
            Self::Wait(_) => "wait",
            Self::Signal(_) => "signal",
            Self::Approval(_) => "approval",
        }
    }
}

impl PlanStep {
    /// The workflow version that it runs, if it runs one.
    #[must_use]
    pub fn runs(&self) -> Option<&WorkflowVersion> {
        if let Act::Workflow(act) = &self.act { Some(&act.version) } else { None }
    }

    /// Whether the run that it begins goes on in the place of this one.
    #[must_use]
    pub fn continues(&self) -> bool {
        matches!(&self.act, Act::Workflow(act) if act.bond == Bond::Continued)
    }

    /// Who has to agree, if anybody has to.
    #[must_use]
    pub fn approval(&self) -> Option<&Approval> {
        match &self.act {
            Act::Approval(approval) => Some(approval),
            _ => self.approve.as_deref(),
        }
    }
}

/// What becomes of a run when one of its steps gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnGiveUp {
    /// It is STALLED and waits for a person or a rule.
    #[default]
    Stall,
    /// It ends FAILED.
    Fail,
    /// It goes on: the step, or the member of a `foreach`, has null as its output.
    Continue,
}
