//! Who does an agent's step: the agent that it names, and those that it may be handed to.

use std::time::Duration;

use kapelle_expression::{Expression, Template};
use kapelle_types::{AgentName, AgentVersion, RetryPolicy, Usd};

use super::{Act, AgentAct, PlanStep};
use crate::contract::Contract;
use crate::flow::ByKey;
use crate::limits::TaskLimits;

/// Handing a step on: what an agent gives may name the one that goes on with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Handoff {
    /// Who may be named, each by its agent's name; the step's own agent may be among them.
    pub to: Vec<Actor>,
    /// Who is next, over `output`, `last` and `round`: a name, or null if the output is the step's.
    pub next: Expression,
    /// What whoever is next works on, over what `next` sees; the step's `with` once more if it is left out.
    pub with: Option<Template>,
    /// How often the step may be handed on.
    pub max: u32,
}

/// An agent version that a step may be handed to, with what is agreed about its work.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    /// The agent.
    pub act: AgentAct,
    /// What it takes; `None` if it takes anything.
    pub input: Option<Contract>,
    /// What it gives; `None` if it may give anything.
    pub output: Option<Contract>,
    /// How failures are retried.
    pub retry: RetryPolicy,
    /// How long one attempt may run.
    pub timeout: Duration,
}

/// One of those who may do a step: 0 is the agent that the step names, the others follow in the order of [`Handoff::to`].
/// An agent version has one number, also if it is named twice.
pub(crate) type ActorIndex = u32;

/// Who does an attempt of a step, and what is agreed about that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doing<'p> {
    /// The agent, if it is an agent's step.
    pub(crate) agent: Option<&'p AgentAct>,
    pub(crate) input: Option<&'p Contract>,
    pub(crate) output: Option<&'p Contract>,
    pub(crate) retry: &'p RetryPolicy,
    pub(crate) timeout: Duration,
    planned: &'p PlanStep,
}

impl Handoff {
    /// Who has this name.
    pub(crate) fn named(&self, own: Option<&AgentVersion>, name: &str) -> Option<ActorIndex> {
        let at = self.to.iter().position(|it| it.act.version.name.as_str() == name)?;
        let is_own = self.to.get(at).map(|it| &it.act.version) == own;
        if is_own { Some(0) } else { ActorIndex::try_from(at + 1).ok() }
    }

    /// Who may be named.
    pub(crate) fn names(&self) -> impl Iterator<Item = &AgentName> {
        self.to.iter().map(|it| &it.act.version.name)
    }
}

impl<'p> Doing<'p> {
    /// The agent version that does it.
    pub(crate) fn version(self) -> Option<&'p AgentVersion> {
        self.agent.map(|agent| &agent.version)
    }

    /// What it may use up; no limits of its own if it is no agent's.
    pub(crate) fn limits(self) -> TaskLimits {
        self.agent.map(|agent| agent.limits).unwrap_or_default()
    }

    /// What all tasks of its agent version may cost together in one run.
    pub(crate) fn cost_per_run(self) -> Option<Usd> {
        self.agent.and_then(|agent| agent.cost_per_run)
    }

    pub(crate) fn by_key(self) -> Option<&'p ByKey> {
        self.agent.and_then(|agent| agent.by_key.as_deref())
    }

    /// Whose contract it is that its input and its output have to keep, as people read it.
    pub(crate) fn whose(self) -> String {
        match (self.version(), self.planned.runs()) {
            (Some(agent), _) => agent.to_string(),
            (None, Some(workflow)) => workflow.to_string(),
            (None, None) => format!("step `{}`", self.planned.id),
        }
    }
}

impl PlanStep {
    /// The agent version that does it, if an agent does; the first if it may be handed on.
    #[must_use]
    pub fn agent(&self) -> Option<&AgentVersion> {
        self.agent_act().map(|act| &act.version)
    }

    /// Every agent version that may do it, the one that it names first.
    pub fn agents(&self) -> impl Iterator<Item = &AgentVersion> {
        let others = self.handoff.iter().flat_map(|it| &it.to).map(|it| &it.act.version);
        self.agent().into_iter().chain(others)
    }

    /// What all tasks of the agent that it names may cost together in one run.
    #[must_use]
    pub fn cost_per_run(&self) -> Option<Usd> {
        self.by(0).cost_per_run()
    }

    /// Whether it may be done in rounds: again and again, or by one agent after another.
    pub(crate) const fn has_rounds(&self) -> bool {
        self.repeat.is_some() || self.handoff.is_some()
    }

    /// What is agreed if this one does it.
    pub(crate) fn by(&self, actor: ActorIndex) -> Doing<'_> {
        let other = (actor as usize).checked_sub(1).and_then(|at| self.handoff.as_ref()?.to.get(at));
        match other {
            Some(other) => Doing {
                agent: Some(&other.act),
                input: other.input.as_ref(),
                output: other.output.as_ref(),
                retry: &other.retry,
                timeout: other.timeout,
                planned: self,
            },
            None => Doing {
                agent: self.agent_act(),
                input: self.input.as_ref(),
                output: self.output.as_ref(),
                retry: &self.retry,
                timeout: self.timeout,
                planned: self,
            },
        }
    }

    /// How many may do it.
    pub(crate) fn actors(&self) -> ActorIndex {
        let others = self.handoff.as_ref().map_or(0, |it| it.to.len());
        ActorIndex::try_from(others + 1).unwrap_or(ActorIndex::MAX)
    }

    fn agent_act(&self) -> Option<&AgentAct> {
        match &self.act {
            Act::Agent(act) => Some(act),
            Act::Emit(_)
            | Act::Workflow(_)
            | Act::Value
            | Act::Switch(_)
            | Act::Wait(_)
            | Act::Signal(_)
            | Act::Approval(_) => None,
        }
    }
}
