//! Which agents there are: what a workflow is checked against.

use std::sync::Arc;

use kapelle_types::AgentName;
use semver::VersionReq;

use crate::Agent;

/// The agents that are registered, or about to be.
pub trait Catalog {
    /// The agent with the highest version that matches.
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>>;
    /// The names of all agents.
    fn agent_names(&self) -> Vec<AgentName>;
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
}
