//! Who depends on whom, as it is declared: which agent version does each step of each workflow version now.
//!
//! ```text
//!   workflow version ──step──▶ agent requirement or capability ──resolves now──▶ agent version, or nobody
//! ```
//!
//! Whoever holds manifests builds it, from files or from the registry, and asks it what would be if some of them were gone.
//! A step is resolved as a submission resolves it and in no other way. Open runs are no part of it: they keep what they
//! were pinned to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kapelle_types::{AgentName, AgentVersion, StepId, Version, WorkflowName, WorkflowVersion};
use semver::VersionReq;

use crate::catalog::{Agents, Current};
use crate::performer::{AgentRequirement, Nobody, Performer};
use crate::{Agent, Step, Workflow};

/// Agents, workflows, and the steps that tie them together.
#[derive(Debug, Clone)]
pub struct Graph {
    agents: BTreeMap<AgentVersion, Arc<Agent>>,
    workflows: BTreeMap<WorkflowVersion, Arc<Workflow>>,
    uses: Vec<Use>,
    current: Current,
}

/// One step and who does it now, or may have it handed on to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The workflow version.
    pub workflow: WorkflowVersion,
    /// Its step.
    pub step: StepId,
    /// Whom it asks for.
    pub wanted: Performer,
    /// Who that is now, or why it is nobody.
    pub by: Result<AgentVersion, Nobody>,
}

/// A step that loses the agent version that does it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The step as it is now.
    pub used: Use,
    /// Who does it now.
    pub now: AgentVersion,
    /// Who would do it then; nobody means that the step breaks.
    pub then: Result<AgentVersion, Nobody>,
}

/// A step that runs another workflow, and which version that is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Above {
    /// The workflow version.
    pub workflow: WorkflowVersion,
    /// Its step.
    pub step: StepId,
    /// What it runs now.
    pub runs: WorkflowVersion,
}

impl Graph {
    /// The graph of these manifests, the steps in the order of workflow versions and of their files.
    #[must_use]
    pub fn of(
        agents: impl IntoIterator<Item = Arc<Agent>>,
        workflows: impl IntoIterator<Item = Arc<Workflow>>,
    ) -> Self {
        let agents: BTreeMap<_, _> = agents.into_iter().map(|it| (it.version(), it)).collect();
        let workflows: BTreeMap<_, _> = workflows.into_iter().map(|it| (it.version(), it)).collect();
        let current = Current::default();
        let uses = uses(&agents, &workflows, &current);
        Self { agents, workflows, uses, current }
    }

    /// The same, with these versions released as the current ones.
    #[must_use]
    pub fn with_current(self, current: Current) -> Self {
        let uses = uses(&self.agents, &self.workflows, &current);
        Self { uses, current, ..self }
    }

    /// Every agent version, in order.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// Of each agent, the version that counts: the current one, or the highest that is no pre-release, or the highest.
    #[must_use]
    pub fn current_agents(&self) -> Vec<&Arc<Agent>> {
        let mut current: BTreeMap<&AgentName, &Arc<Agent>> = BTreeMap::new();
        // In order of versions, so that what comes later is higher.
        for (version, agent) in &self.agents {
            let (name, number) = (&version.name, &version.version);
            let released = self.current.agents.get(name);
            let there = current.get(name).map(|it| &it.metadata.version);
            if counts_more(there, number, released) {
                current.insert(name, agent);
            }
        }
        current.into_values().collect()
    }

    /// Of each workflow, the version that a job gets which asks for none: the current one, or the highest that is no
    /// pre-release, or the highest.
    #[must_use]
    pub fn current_workflows(&self) -> Vec<&WorkflowVersion> {
        let mut current: BTreeMap<&WorkflowName, &WorkflowVersion> = BTreeMap::new();
        for version in self.workflows.keys() {
            let released = self.current.workflows.get(&version.name);
            if counts_more(current.get(&version.name).map(|it| &it.version), &version.version, released) {
                current.insert(&version.name, version);
            }
        }
        current.into_values().collect()
    }

    /// Every step of every workflow version.
    #[must_use]
    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    /// What steps would lose if these agent versions were gone. A step that nobody does now has nothing to lose.
    #[must_use]
    pub fn losses(&self, gone: impl Fn(&AgentVersion) -> bool) -> Vec<Loss> {
        let left = self.agents.iter().filter(|(version, _)| !gone(version));
        let left: BTreeMap<_, _> = left.map(|(version, agent)| (version.clone(), Arc::clone(agent))).collect();
        let then = uses(&left, &self.workflows, &self.current);
        let both = self.uses.iter().zip(then);
        both.filter_map(|(used, then)| {
            let now = used.by.as_ref().ok().filter(|it| gone(it))?.clone();
            Some(Loss { used: used.clone(), now, then: then.by })
        })
        .collect()
    }

    /// The steps that run one of these workflow versions now, and those that run the workflows of these steps, however far
    /// above: what becomes of the versions is felt by all of them.
    #[must_use]
    pub fn above(&self, below: impl IntoIterator<Item = WorkflowVersion>) -> Vec<Above> {
        let mut catalog = Agents::default().with_current(self.current.clone());
        self.workflows.values().for_each(|it| catalog.insert_workflow(Arc::clone(it)));
        let calls = self.workflows.iter().flat_map(|(version, it)| {
            let calls = it.every_step().filter_map(|step| Some((step, step.act.call()?.resolve(&catalog).ok()?)));
            let above = |(step, runs): (&Step, Arc<Workflow>)| Above {
                workflow: version.clone(),
                step: step.id.clone(),
                runs: runs.version(),
            };
            calls.map(above).collect::<Vec<_>>()
        });
        let mut calls: Vec<Above> = calls.collect();
        let mut felt: BTreeSet<WorkflowVersion> = below.into_iter().collect();
        let mut found = Vec::new();
        loop {
            let (of_these, others) = calls.into_iter().partition::<Vec<_>, _>(|it| felt.contains(&it.runs));
            if of_these.is_empty() {
                return found;
            }
            felt.extend(of_these.iter().map(|it| it.workflow.clone()));
            found.extend(of_these);
            calls = others;
        }
    }

    /// The agents as steps look for them.
    #[must_use]
    pub fn catalog(&self) -> Agents {
        self.agents.values().cloned().collect::<Agents>().with_current(self.current.clone())
    }
}

/// Whether a version counts more than the lower one that is there.
fn counts_more(there: Option<&Version>, version: &Version, released: Option<&Version>) -> bool {
    let full = |version: &Version| VersionReq::STAR.matches(version.semver());
    match there {
        None => true,
        Some(there) if released == Some(there) => false,
        Some(there) => released == Some(version) || full(version) || !full(there),
    }
}

fn uses(
    agents: &BTreeMap<AgentVersion, Arc<Agent>>,
    workflows: &BTreeMap<WorkflowVersion, Arc<Workflow>>,
    current: &Current,
) -> Vec<Use> {
    let catalog = agents.values().cloned().collect::<Agents>().with_current(current.clone());
    // Thousands of steps ask for the same few agents.
    let mut known: HashMap<String, Result<AgentVersion, Nobody>> = HashMap::new();
    let mut resolve = |wanted: &Performer| {
        let key = match wanted {
            Performer::Agent(requirement) => format!("agent {requirement}"),
            Performer::Capability(capability) => format!("capability {capability}"),
        };
        known.entry(key).or_insert_with(|| wanted.resolve(&catalog).map(|agent| agent.version())).clone()
    };
    let steps = workflows.iter().flat_map(|(version, it)| it.every_step().map(move |step| (version, step)));
    steps
        .flat_map(|(workflow, step)| step.performers().map(move |wanted| (workflow, step, wanted)))
        .map(|(workflow, step, wanted)| {
            let by = resolve(&wanted);
            Use { workflow: workflow.clone(), step: step.id.clone(), wanted, by }
        })
        .collect()
}

impl Use {
    /// Whether the step names this agent, in whatever version.
    #[must_use]
    pub fn names(&self, agent: &AgentName) -> bool {
        matches!(&self.wanted, Performer::Agent(AgentRequirement { name, .. }) if name == agent)
    }

    /// Whether the step asks for this capability, whoever has it.
    #[must_use]
    pub fn asks_for(&self, capability: &str) -> bool {
        matches!(&self.wanted, Performer::Capability(it) if it == capability)
    }
}
