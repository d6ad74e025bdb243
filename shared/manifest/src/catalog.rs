//! Which agents there are: what a workflow is checked against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kapelle_types::{AgentName, Version};
use semver::VersionReq;

use crate::Agent;

/// The agents that are registered, or about to be.
pub trait Catalog {
    /// The agent with the highest version that matches.
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>>;
    /// The names of all agents.
    fn agent_names(&self) -> Vec<AgentName>;
    /// Of each agent that declares a capability, the highest version that does; pre-releases are only taken by name.
    fn capable(&self, capability: &str) -> Vec<Arc<Agent>>;
    /// Every capability that some agent declares, in order.
    fn capabilities(&self) -> Vec<String>;
    /// The versions of an agent that are registered and that nobody gets any more; the other answers leave them out.
    fn retired(&self, _name: &AgentName) -> Vec<Version> {
        vec![]
    }
}

/// The capable ones of these agents, one version of each name.
pub fn capable<'a>(agents: impl IntoIterator<Item = &'a Arc<Agent>>, capability: &str) -> Vec<Arc<Agent>> {
    let mut highest: BTreeMap<&AgentName, &Arc<Agent>> = BTreeMap::new();
    for agent in agents {
        let released = VersionReq::STAR.matches(agent.metadata.version.semver());
        if !released || !agent.spec.role.capabilities.iter().any(|it| it == capability) {
            continue;
        }
        let best = highest.entry(&agent.metadata.name).or_insert(agent);
        if agent.metadata.version > best.metadata.version {
            *best = agent;
        }
    }
    highest.into_values().cloned().collect()
}

/// What these agents declare, in order and each once.
pub fn capabilities<'a>(agents: impl IntoIterator<Item = &'a Arc<Agent>>) -> Vec<String> {
    let declared = agents.into_iter().flat_map(|agent| &agent.spec.role.capabilities);
    declared.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// Agents in memory: those of one file or folder, or of a test.
#[derive(Debug, Clone, Default)]
pub struct Agents(Vec<Arc<Agent>>);

impl Agents {
    /// Adds an agent.
    pub fn insert(&mut self, agent: Arc<Agent>) {
        self.0.push(agent);
    }
}

impl FromIterator<Arc<Agent>> for Agents {
    fn from_iter<I: IntoIterator<Item = Arc<Agent>>>(agents: I) -> Self {
        Self(agents.into_iter().collect())
    }
}

impl Catalog for Agents {
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>> {
        self.0
            .iter()
            .filter(|agent| agent.metadata.name == *name && requirement.matches(agent.metadata.version.semver()))
            .max_by(|a, b| a.metadata.version.cmp(&b.metadata.version))
            .cloned()
    }

    fn agent_names(&self) -> Vec<AgentName> {
        let mut names: Vec<AgentName> = self.0.iter().map(|agent| agent.metadata.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn capable(&self, wanted: &str) -> Vec<Arc<Agent>> {
        capable(&self.0, wanted)
    }

    fn capabilities(&self) -> Vec<String> {
        capabilities(&self.0)
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
        capable(&[self.0.capable(wanted), self.1.capable(wanted)].concat(), wanted)
    }

    fn capabilities(&self) -> Vec<String> {
        let declared: BTreeSet<String> = [self.0.capabilities(), self.1.capabilities()].concat().into_iter().collect();
        declared.into_iter().collect()
    }

    fn retired(&self, name: &AgentName) -> Vec<Version> {
        [self.0.retired(name), self.1.retired(name)].concat()
    }
}
