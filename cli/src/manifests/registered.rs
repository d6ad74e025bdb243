//! What is registered, as far as manifests are checked against it or compared with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kapelle_manifest::{Agent, Agents, Catalog, Current, Manifest, Performer, Workflow};
use kapelle_proto::v1;
use kapelle_types::{AgentName, AgentVersion, Version, WorkflowName};
use semver::VersionReq;

use super::Found;
use crate::client::Client;
use crate::failure::Failure;

/// The manifests of the agents and workflows that matter here, and the names of all, so that a typo finds its nearest.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    agents: Agents,
    names: Vec<AgentName>,
    workflow_names: Vec<WorkflowName>,
    retired: BTreeSet<AgentVersion>,
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

    fn workflow(&self, name: &WorkflowName, requirement: &VersionReq) -> Option<Arc<Workflow>> {
        self.agents.workflow(name, requirement)
    }

    fn workflow_names(&self) -> Vec<WorkflowName> {
        self.workflow_names.clone()
    }

    fn retired(&self, name: &AgentName) -> Vec<Version> {
        self.retired.iter().filter(|it| it.name == *name).map(|it| it.version.clone()).collect()
    }
}

/// The agents that workflows are checked against.
#[derive(Debug, PartialEq, Eq)]
enum Needed {
    /// These.
    Named(BTreeSet<AgentName>),
    /// All: a step asks for a capability, and any agent may declare it.
    All,
}

impl Needed {
    fn by(found: &[Found]) -> Self {
        let workflows = found.iter().filter_map(|f| match &f.sourced.manifest {
            Manifest::Workflow(workflow) => Some(workflow),
            Manifest::Agent(_) => None,
        });
        let mut names = BTreeSet::new();
        let steps = workflows.flat_map(kapelle_manifest::Workflow::every_step);
        for performer in steps.flat_map(kapelle_manifest::Step::performers) {
            match performer {
                Performer::Agent(agent) => drop(names.insert(agent.name)),
                Performer::Capability(_) => return Self::All,
            }
        }
        Self::Named(names)
    }

    fn includes(&self, name: &AgentName) -> bool {
        match self {
            Self::Named(names) => names.contains(name),
            Self::All => true,
        }
    }
}

/// Asks the coordinator for every version of the agents that these manifests need.
pub(crate) async fn needed_by(client: &Client, found: &[Found]) -> Result<Registered, Failure> {
    let needed = Needed::by(found);
    let mut registered = Registered::default();
    let mut current = Current::default();
    for row in list(client, "Agent").await? {
        note_current(&row, &mut current);
        let Ok(name) = row.name.parse::<AgentName>() else { continue };
        if let Some(version) = out_of_use(&row) {
            registered.retired.insert(version);
        } else if needed.includes(&name)
            && let Manifest::Agent(agent) = client.manifest(&row.kind, &row.name, &row.version).await?
        {
            registered.agents.insert(Arc::new(agent));
        }
        registered.names.push(name);
    }
    let called = called_by(found);
    for row in if called.is_empty() { vec![] } else { list(client, "Workflow").await? } {
        note_current(&row, &mut current);
        let Ok(name) = row.name.parse::<WorkflowName>() else { continue };
        if called.contains(&name)
            && let Manifest::Workflow(workflow) = client.manifest(&row.kind, &row.name, &row.version).await?
        {
            registered.agents.insert_workflow(Arc::new(workflow));
        }
        registered.workflow_names.push(name);
    }
    registered.agents = registered.agents.with_current(current);
    Ok(registered)
}

/// The workflows that steps of these manifests run.
fn called_by(found: &[Found]) -> BTreeSet<WorkflowName> {
    let steps = found.iter().filter_map(|f| match &f.sourced.manifest {
        Manifest::Workflow(workflow) => Some(&workflow.spec.steps),
        Manifest::Agent(_) => None,
    });
    steps.flatten().filter_map(|step| Some(step.act.call()?.wanted.name.clone())).collect()
}

/// Asks the coordinator for every version of everything.
pub(crate) async fn all(client: &Client) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    for row in list(client, "").await? {
        manifests.push(client.manifest(&row.kind, &row.name, &row.version).await?);
    }
    Ok(manifests)
}

/// Which versions are released as the current ones.
pub(crate) async fn current(client: &Client) -> Result<Current, Failure> {
    let mut current = Current::default();
    list(client, "").await?.iter().for_each(|row| note_current(row, &mut current));
    Ok(current)
}

fn note_current(row: &v1::ManifestView, current: &mut Current) {
    let Some(version) = row.version.parse().ok().filter(|_| row.current) else { return };
    if row.kind == "Agent" {
        current.agents.extend(row.name.parse().ok().map(|name| (name, version)));
    } else {
        current.workflows.extend(row.name.parse().ok().map(|name| (name, version)));
    }
}

/// The agent versions that no new run gets.
pub(crate) async fn retired(client: &Client) -> Result<BTreeSet<AgentVersion>, Failure> {
    Ok(list(client, "Agent").await?.iter().filter_map(out_of_use).collect())
}

fn out_of_use(row: &v1::ManifestView) -> Option<AgentVersion> {
    let over = row.deprecation.as_ref().is_some_and(|it| it.over);
    // What is suspended goes on some time, and runs that get it wait.
    let gone = row.standing.as_ref().is_some_and(|it| it.status != "SUSPENDED");
    if !over && !gone {
        return None;
    }
    Some(AgentVersion { name: row.name.parse().ok()?, version: row.version.parse().ok()? })
}

async fn list(client: &Client, kind: &str) -> Result<Vec<v1::ManifestView>, Failure> {
    let request = v1::ListManifestsRequest { kind: kind.to_owned() };
    let answer = client.registry().list_manifests(request).await.map_err(|s| client.failure(s))?;
    Ok(answer.into_inner().manifests)
}
