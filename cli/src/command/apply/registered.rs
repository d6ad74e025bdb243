//! The registered agents that workflows are checked against.

use std::collections::BTreeSet;
use std::sync::Arc;

use kapelle_manifest::{Agent, Agents, Catalog, Manifest};
use kapelle_proto::v1;
use kapelle_types::AgentName;
use semver::VersionReq;

use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;

/// The manifests of the agents that matter here, and the names of all, so that a typo finds its nearest.
#[derive(Debug)]
pub(super) struct Registered {
    agents: Agents,
    names: Vec<AgentName>,
}

impl Catalog for Registered {
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>> {
        self.agents.agent(name, requirement)
    }

    fn agent_names(&self) -> Vec<AgentName> {
        self.names.clone()
    }

    fn capable(&self, capability: &str) -> Vec<Arc<Agent>> {
        self.agents.capable(capability)
    }

    fn capabilities(&self) -> Vec<String> {
        self.agents.capabilities()
    }
}

/// The agents that workflows are checked against.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// These.
    Named(BTreeSet<AgentName>),
    /// All: a step asks for a capability, and any agent may declare it.
    All,
}

impl Needed {
    fn includes(&self, name: &AgentName) -> bool {
        match self {
            Self::Named(names) => names.contains(name),
            Self::All => true,
        }
    }
}

/// Asks the coordinator for every version of the agents that are needed.
pub(super) async fn agents(client: &Client, needed: &Needed) -> Result<Registered, Failure> {
    let request = v1::ListManifestsRequest { kind: "Agent".into() };
    let answer = client.registry().list_manifests(request).await.map_err(|s| client.failure(s))?.into_inner();
    let mut registered = Registered { agents: Agents::default(), names: Vec::new() };
    for row in answer.manifests {
        let Ok(name) = row.name.parse::<AgentName>() else { continue };
        if needed.includes(&name) {
            let request = v1::GetManifestRequest { kind: row.kind, name: row.name, version: row.version };
            let manifest = client.registry().get_manifest(request).await.map_err(|s| client.failure(s))?.into_inner();
            registered.agents.insert(Arc::new(read(&manifest)?));
        }
        registered.names.push(name);
    }
    Ok(registered)
}

fn read(view: &v1::ManifestView) -> Result<Agent, Failure> {
    match serde_json::from_slice(&view.json) {
        Ok(Manifest::Agent(agent)) => Ok(agent),
        Ok(Manifest::Workflow(_)) => {
            Err(Failure::plain(Exit::Failed, format!("{} is registered as an agent and is none.", view.name)))
        }
        Err(error) => Err(Failure::plain(
            Exit::Failed,
            format!("The registered agent {}@{} cannot be read here: {error}.", view.name, view.version),
        )
        .hint("The coordinator is of another release; compare `kapelle --version` on both sides.")),
    }
}
