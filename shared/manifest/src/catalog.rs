//! Which agents and workflows there are: what a workflow is checked against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kapelle_types::{AgentName, Version, WorkflowName};
use semver::VersionReq;

use crate::{Agent, Manifest, Workflow};

/// What is registered, or about to be.
pub trait Catalog {
    /// The agent with the highest version that matches.
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>>;
    /// The names of all agents.
    fn agent_names(&self) -> Vec<AgentName>;
    /// Of each agent that declares a capability, the highest version that does; pre-releases are only taken by name.
    fn capable(&self, capability: &str) -> Vec<Arc<Agent>>;
    /// Every capability that some agent declares, in order.
    fn capabilities(&self) -> Vec<String>;
    /// The workflow with the highest version that matches.
    fn workflow(&self, name: &WorkflowName, requirement: &VersionReq) -> Option<Arc<Workflow>>;
    /// The names of all workflows.
    fn workflow_names(&self) -> Vec<WorkflowName>;
    /// The versions of an agent that are registered and that nobody gets any more; the other answers leave them out.
    fn retired(&self, _name: &AgentName) -> Vec<Version> {
        vec![]
    }
}

/// The capable ones of these agents, of each name the highest version that is no pre-release.
pub fn capable<'a>(agents: impl IntoIterator<Item = &'a Arc<Agent>>, capability: &str) -> Vec<Arc<Agent>> {
    let full = |agent: &Agent| VersionReq::STAR.matches(agent.metadata.version.semver());
    highest_of(agents.into_iter().filter(|it| full(it) && it.declares(capability)).cloned())
}

/// The highest version of each name, in the order of names.
pub fn highest_of(agents: impl IntoIterator<Item = Arc<Agent>>) -> Vec<Arc<Agent>> {
    let mut highest: BTreeMap<AgentName, Arc<Agent>> = BTreeMap::new();
    for agent in agents {
        let there = highest.get(&agent.metadata.name).map(|it| &it.metadata.version);
        if there.is_none_or(|it| agent.metadata.version > *it) {
            highest.insert(agent.metadata.name.clone(), agent);
        }
    }
    highest.into_values().collect()
}

/// What these agents declare, in order and each once.
pub fn capabilities<'a>(agents: impl IntoIterator<Item = &'a Arc<Agent>>) -> Vec<String> {
    let declared = agents.into_iter().flat_map(|agent| &agent.spec.role.capabilities);
    declared.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// Which versions are released as the current ones; of every other name, runs get the highest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// Of agents.
    pub agents: BTreeMap<AgentName, Version>,
    /// Of workflows.
    pub workflows: BTreeMap<WorkflowName, Version>,
}

/// The version that a requirement takes: the current one, where it fits, or the highest. A pre-release fits where it is named,
/// or where it is current and nothing is asked for.
fn preferred<'v, M>(
    all: impl Iterator<Item = (&'v Version, M)> + Clone,
    current: Option<&Version>,
    requirement: &VersionReq,
) -> Option<M> {
    let fits = |version: &Version| requirement.matches(version.semver());
    let is_current =
        |version: &Version| current == Some(version) && (*requirement == VersionReq::STAR || fits(version));
    let taken = all.clone().find(|(version, _)| is_current(version));
    taken.or_else(|| all.filter(|(version, _)| fits(version)).max_by_key(|(version, _)| *version)).map(|(_, it)| it)
}

/// Agents in memory, and the workflows beside them: those of one file or folder, or of a test.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    agents: Vec<Arc<Agent>>,
    workflows: Vec<Arc<Workflow>>,
    current: Current,
}

impl Agents {
    /// The same, with these versions released as the current ones.
    #[must_use]
    pub fn with_current(self, current: Current) -> Self {
        Self { current, ..self }
    }

    /// Adds an agent.
    pub fn insert(&mut self, agent: Arc<Agent>) {
        self.agents.push(agent);
    }

    /// Adds a workflow.
    pub fn insert_workflow(&mut self, workflow: Arc<Workflow>) {
        self.workflows.push(workflow);
    }
}

impl<'m> FromIterator<&'m Manifest> for Agents {
    fn from_iter<I: IntoIterator<Item = &'m Manifest>>(manifests: I) -> Self {
        let mut all = Self::default();
        for manifest in manifests {
            match manifest {
                Manifest::Agent(agent) => all.insert(Arc::new(agent.clone())),
                Manifest::Workflow(workflow) => all.insert_workflow(Arc::new(workflow.clone())),
            }
        }
        all
    }
}

impl FromIterator<Arc<Agent>> for Agents {
    fn from_iter<I: IntoIterator<Item = Arc<Agent>>>(agents: I) -> Self {
        Self { agents: agents.into_iter().collect(), ..Self::default() }
    }
}

impl Catalog for Agents {
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>> {
        let of_name = self.agents.iter().filter(|agent| agent.metadata.name == *name);
        let all = of_name.map(|agent| (&agent.metadata.version, agent));
        preferred(all, self.current.agents.get(name), requirement).cloned()
    }

    fn agent_names(&self) -> Vec<AgentName> {
        let mut names: Vec<AgentName> = self.agents.iter().map(|agent| agent.metadata.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn capable(&self, wanted: &str) -> Vec<Arc<Agent>> {
        let released = |agent: &&Arc<Agent>| self.current.agents.contains_key(&agent.metadata.name);
        let others = capable(self.agents.iter().filter(|it| !released(it)), wanted);
        let released = self.current.agents.keys().filter_map(|name| self.agent(name, &VersionReq::STAR));
        highest_of(others.into_iter().chain(released.filter(|it| it.declares(wanted))))
    }

    fn capabilities(&self) -> Vec<String> {
        capabilities(&self.agents)
    }

    fn workflow(&self, name: &WorkflowName, requirement: &VersionReq) -> Option<Arc<Workflow>> {
        let of_name = self.workflows.iter().filter(|it| it.metadata.name == *name);
        let all = of_name.map(|it| (&it.metadata.version, it));
        preferred(all, self.current.workflows.get(name), requirement).cloned()
    }

    fn workflow_names(&self) -> Vec<WorkflowName> {
        let names: BTreeSet<&WorkflowName> = self.workflows.iter().map(|it| &it.metadata.name).collect();
        names.into_iter().cloned().collect()
    }
}

/// Two catalogs as one, the agents of the first before those of the second: a folder about to be applied over what is
/// registered.
#[derive(Debug)]
pub struct Layered<A, B>(pub A, pub B);

impl<A: Catalog, B: Catalog> Catalog for Layered<A, B> {
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>> {
        match (self.0.agent(name, requirement), self.1.agent(name, requirement)) {
            (Some(a), Some(b)) if b.metadata.version > a.metadata.version => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        }
    }

    fn agent_names(&self) -> Vec<AgentName> {
        let mut names = [self.0.agent_names(), self.1.agent_names()].concat();
        names.sort();
        names.dedup();
        names
    }

    fn capable(&self, wanted: &str) -> Vec<Arc<Agent>> {
        highest_of(self.0.capable(wanted).into_iter().chain(self.1.capable(wanted)))
    }

    fn capabilities(&self) -> Vec<String> {
        let declared: BTreeSet<String> = [self.0.capabilities(), self.1.capabilities()].concat().into_iter().collect();
        declared.into_iter().collect()
    }

    fn workflow(&self, name: &WorkflowName, requirement: &VersionReq) -> Option<Arc<Workflow>> {
        match (self.0.workflow(name, requirement), self.1.workflow(name, requirement)) {
            (Some(a), Some(b)) if b.metadata.version > a.metadata.version => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        }
    }

    fn workflow_names(&self) -> Vec<WorkflowName> {
        let mut names = [self.0.workflow_names(), self.1.workflow_names()].concat();
        names.sort();
        names.dedup();
        names
    }

    fn retired(&self, name: &AgentName) -> Vec<Version> {
        [self.0.retired(name), self.1.retired(name)].concat()
    }
}
