//! The registered manifests at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kapelle_bus::registry::{Kind, Registered, Standing};
use kapelle_bus::tasks::QueueLimits;
use kapelle_engine::{RunSubmitted, WorkflowPin};
use kapelle_expression::nearest;
use kapelle_manifest::{Agent, Checker, Graph, Manifest, Nobody, Workflow};
use kapelle_types::{AgentName, AgentVersion, Code, Diagnosis, Sha256, Version, WorkflowName, WorkflowVersion};
use semver::VersionReq;

use super::Resolved;
use crate::plans::{Parts, PlanStore, pin};

/// A registered version with what is known about it.
#[derive(Clone)]
pub(super) struct Entry<M> {
    /// The manifest.
    pub manifest: Arc<M>,
    /// The record that it came in.
    pub record: Arc<Registered>,
}

/// All versions by name.
type Versions<N, M> = BTreeMap<N, BTreeMap<Version, Entry<M>>>;

/// What is registered. Immutable; a change makes another.
#[derive(Default)]
pub struct Snapshot {
    agents: Versions<AgentName, Agent>,
    workflows: Versions<WorkflowName, Workflow>,
    /// The agent versions that are on their way out, or gone: nothing is resolved to them.
    standings: BTreeMap<AgentVersion, Standing>,
    /// What was resolved against this snapshot.
    resolved: Mutex<HashMap<(String, String), Arc<Resolved>>>,
}

/// Another snapshot, and the queue that a new agent needs.
type Changed = (Snapshot, Option<Queue>);

/// A queue that has to be there.
pub(super) type Queue = (AgentVersion, QueueLimits);

/// What the queue of an agent has to tell.
const fn limits(agent: &Agent) -> QueueLimits {
    let limits = &agent.spec.role.limits;
    QueueLimits { concurrency: limits.concurrency, rate: limits.rate, cost_per_day: limits.cost_per_day }
}

impl Snapshot {
    /// This snapshot with one record more; `None` if it is there already.
    pub(super) fn with(&self, record: &Registered) -> Result<Option<Changed>, serde_json::Error> {
        let manifest: Manifest = serde_json::from_value(record.manifest.clone())?;
        let mut next = self.another();
        let record = Arc::new(record.clone());
        let version = record.version.clone();
        Ok(match manifest {
            Manifest::Agent(agent) => {
                let id = AgentVersion { name: agent.metadata.name.clone(), version: version.clone() };
                let limits = limits(&agent);
                let entry = Entry { manifest: Arc::new(agent), record };
                let there = next.agents.entry(id.name.clone()).or_default().insert(version, entry);
                there.is_none().then_some((next, Some((id, limits))))
            }
            Manifest::Workflow(workflow) => {
                let name = workflow.metadata.name.clone();
                let entry = Entry { manifest: Arc::new(workflow), record };
                let there = next.workflows.entry(name).or_default().insert(version, entry);
                there.is_none().then_some((next, None))
            }
        })
    }

    /// This snapshot with an agent version that stands otherwise; `None` if it stands like that already.
    pub(super) fn standing(&self, agent: &AgentVersion, standing: Option<&Standing>) -> Option<Self> {
        if self.standings.get(agent) == standing {
            return None;
        }
        let mut next = self.another();
        match standing {
            Some(standing) => next.standings.insert(agent.clone(), standing.clone()),
            None => next.standings.remove(agent),
        };
        Some(next)
    }

    /// The same, with nothing resolved.
    fn another(&self) -> Self {
        let (agents, workflows) = (self.agents.clone(), self.workflows.clone());
        Self { agents, workflows, standings: self.standings.clone(), resolved: Mutex::default() }
    }

    /// How an agent version stands; `None` is in use.
    #[must_use]
    pub fn standing_of(&self, agent: &AgentVersion) -> Option<&Standing> {
        self.standings.get(agent)
    }

    /// Every agent version that is on its way out, or gone.
    #[must_use]
    pub const fn standings(&self) -> &BTreeMap<AgentVersion, Standing> {
        &self.standings
    }

    /// Whether nothing is resolved to this version of an agent.
    fn is_out(&self, name: &AgentName, version: &Version) -> bool {
        // Hardly ever is there one at all.
        !self.standings.is_empty()
            && self.standings.contains_key(&AgentVersion { name: name.clone(), version: version.clone() })
    }

    /// The declared graph of what is in use, and of these agent versions beside it.
    #[must_use]
    pub fn graph(&self, also: &AgentVersion) -> Graph {
        let known = self.agent_manifests().filter(|it| {
            let version = it.version();
            version == *also || !self.standings.contains_key(&version)
        });
        let workflows = self.workflow_manifests();
        Graph::of(known.cloned(), workflows.cloned())
    }

    /// Of each workflow, the version that a job gets which asks for none.
    #[must_use]
    pub fn current_workflows(&self) -> Vec<Arc<Workflow>> {
        let current = |all: &BTreeMap<Version, Entry<Workflow>>| {
            let of_all = || all.values().next_back();
            highest(all, &VersionReq::STAR).or_else(of_all).map(|entry| Arc::clone(&entry.manifest))
        };
        self.workflows.values().filter_map(current).collect()
    }

    /// Every registered agent version.
    #[must_use]
    pub fn agent_versions(&self) -> Vec<AgentVersion> {
        let versions = |(name, all): (&AgentName, &BTreeMap<Version, _>)| -> Vec<AgentVersion> {
            all.keys().map(|v| AgentVersion { name: name.clone(), version: v.clone() }).collect()
        };
        self.agents.iter().flat_map(versions).collect()
    }

    /// The queue that each agent version needs: what the fleet keeps about its tasks.
    pub(super) fn queues(&self) -> Vec<Queue> {
        let entries = self.agents.values().flat_map(BTreeMap::values);
        entries.map(|e| (e.manifest.version(), limits(&e.manifest))).collect()
    }

    fn agent_manifests(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values().flat_map(BTreeMap::values).map(|entry| &entry.manifest)
    }

    /// The agents that steps may get.
    fn agents_in_use(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agent_manifests().filter(|it| !self.is_out(&it.metadata.name, &it.metadata.version))
    }

    /// Every registered workflow version.
    fn workflow_manifests(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.workflows.values().flat_map(BTreeMap::values).map(|entry| &entry.manifest)
    }

    /// Every record, agents first.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Registered>> {
        let agents = self.agents.values().flat_map(BTreeMap::values).map(|e| &e.record);
        agents.chain(self.workflows.values().flat_map(BTreeMap::values).map(|e| &e.record))
    }

    /// One record: a version, or the highest; one in use, if there is one.
    #[must_use]
    pub fn record(&self, kind: Kind, name: &str, version: Option<&Version>) -> Option<&Arc<Registered>> {
        let of_name = self.records().filter(|r| r.kind == kind && r.name == name);
        let rank = |it: &&Arc<Registered>| (self.standing_of_record(it).is_none(), it.version.clone());
        of_name.filter(|r| version.is_none_or(|v| r.version == *v)).max_by_key(rank)
    }

    /// How what a record registers stands; `None` is in use, as every workflow is.
    #[must_use]
    pub fn standing_of_record(&self, record: &Registered) -> Option<&Standing> {
        if record.kind != Kind::Agent || self.standings.is_empty() {
            return None;
        }
        self.standings.get(&AgentVersion { name: record.name.parse().ok()?, version: record.version.clone() })
    }

    /// The manifests of every version of one name.
    #[must_use]
    pub fn versions(&self, kind: Kind, name: &str) -> Vec<Manifest> {
        match kind {
            Kind::Agent => {
                let all = self.agents.iter().filter(|(it, _)| it.as_str() == name).flat_map(|(_, all)| all.values());
                all.map(|entry| Manifest::Agent(Agent::clone(&entry.manifest))).collect()
            }
            Kind::Workflow => {
                let all = self.workflows.iter().filter(|(it, _)| it.as_str() == name).flat_map(|(_, all)| all.values());
                all.map(|entry| Manifest::Workflow(Workflow::clone(&entry.manifest))).collect()
            }
        }
    }

    /// A registered workflow version.
    #[must_use]
    pub fn workflow(&self, version: &WorkflowVersion) -> Option<Arc<Workflow>> {
        Some(Arc::clone(&self.workflows.get(&version.name)?.get(&version.version)?.manifest))
    }

    /// A registered agent version.
    #[must_use]
    pub fn agent(&self, version: &AgentVersion) -> Option<&Agent> {
        Some(&self.agents.get(&version.name)?.get(&version.version)?.manifest)
    }

    /// The digest of what an agent version promises to give: of its output's schema, as RFC 8785 writes it.
    #[must_use]
    pub fn output_digest(&self, agent: &AgentVersion) -> Option<Sha256> {
        let entry = self.agents.get(&agent.name)?.get(&agent.version)?;
        Some(kapelle_manifest::schema_digest(&entry.manifest.spec.output))
    }

    /// The digest of an agent's manifest, as it is registered.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`: the agent is of another catalog.
    fn agent_digest(&self, agent: &Agent) -> Result<Sha256, Diagnosis> {
        let registered = self.agents.get(&agent.metadata.name).and_then(|all| all.get(&agent.metadata.version));
        let foreign = || Diagnosis::new(Code::UNKNOWN_AGENT, format!("{} is not registered", agent.version()));
        registered.map(|entry| entry.record.digest).ok_or_else(foreign)
    }

    /// The digest of a workflow's manifest, as it is registered.
    ///
    /// # Errors
    /// `UNKNOWN_WORKFLOW`: the workflow is of another catalog.
    fn workflow_digest(&self, workflow: &Workflow) -> Result<Sha256, Diagnosis> {
        let registered =
            self.workflows.get(&workflow.metadata.name).and_then(|all| all.get(&workflow.metadata.version));
        let foreign = || Diagnosis::new(Code::UNKNOWN_WORKFLOW, format!("{} is not registered", workflow.version()));
        registered.map(|entry| entry.record.digest).ok_or_else(foreign)
    }

    pub(super) fn resolve(&self, name: &str, requirement: &str, plans: &PlanStore) -> Result<Arc<Resolved>, Diagnosis> {
        let key = (name.to_owned(), requirement.to_owned());
        if let Some(resolved) = self.resolved.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(resolved));
        }
        let resolved = Arc::new(self.resolve_anew(name, requirement, plans)?);
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&resolved));
        Ok(resolved)
    }

    fn resolve_anew(&self, name: &str, requirement: &str, plans: &PlanStore) -> Result<Resolved, Diagnosis> {
        let entry = self.workflow_entry(name, requirement)?;
        let workflow = &entry.manifest;
        let version = WorkflowVersion { name: workflow.metadata.name.clone(), version: entry.record.version.clone() };
        let mut pins = Vec::new();
        let (mut agents, mut workflow_pins, mut workflows) = (Vec::new(), Vec::new(), Vec::new());
        for step in workflow.every_step() {
            let unknown = |nobody: Nobody| {
                Diagnosis::new(nobody.code, format!("step {} of {version}: {nobody}", step.id)).hint(nobody.hint)
            };
            if let Some(call) = step.act.call() {
                let below = call.resolve(&self).map_err(unknown)?;
                let (workflow, digest) = (below.version(), self.workflow_digest(&below)?);
                workflow_pins.push(WorkflowPin { step: step.id.clone(), workflow, digest });
                workflows.push(below);
            }
            for performer in step.performers() {
                let agent = performer.resolve(&self).map_err(unknown)?;
                pins.push(pin(&step.id, &agent, self.agent_digest(&agent)?));
                agents.push(agent);
            }
        }
        let digest: Sha256 = entry.record.digest;
        let parts = Parts { pins: &pins, agents: &agents, workflow_pins: &workflow_pins, workflows: &workflows };
        plans
            .compile(&version, digest, workflow, parts)
            .map_err(|e| Diagnosis::new(Code::PLAN_MISSING, e.to_string()))?;
        let contract = compiled(workflow, &version)?;
        Ok(Resolved { workflow: version, digest, pins, workflow_pins, contract })
    }

    /// The versions of an earlier submission, if none of its agents is on its way out.
    pub(super) fn resolve_as(&self, submitted: &RunSubmitted) -> Result<Resolved, Diagnosis> {
        if let Some(gone) = submitted.pins.iter().find(|pin| self.standings.contains_key(&pin.agent)) {
            let message = format!("step {} was done by {}, which is on its way out or retired", gone.step, gone.agent);
            return Err(Diagnosis::new(Code::AGENT_RETIRED, message)
                .hint("take what would be pinned now with --latest, or put the version back into use"));
        }
        let version = submitted.workflow.clone();
        let missing = || Diagnosis::new(Code::PLAN_MISSING, format!("{version} is not registered as it was"));
        let workflow = self.workflow(&version).ok_or_else(missing)?;
        let contract = compiled(&workflow, &version)?;
        let (digest, pins) = (submitted.workflow_digest, submitted.pins.clone());
        Ok(Resolved { workflow: version, digest, pins, workflow_pins: submitted.workflow_pins.clone(), contract })
    }

    fn workflow_entry(&self, name: &str, requirement: &str) -> Result<&Entry<Workflow>, Diagnosis> {
        let invalid = |what: String| Diagnosis::new(Code::REQUEST_INVALID, what);
        let parsed: WorkflowName = name.parse().map_err(|e: kapelle_types::InvalidName| invalid(e.to_string()))?;
        let requirement: VersionReq = match requirement {
            "" => VersionReq::STAR,
            text => text.parse().map_err(|e| invalid(format!("`{text}` is not a version requirement: {e}")))?,
        };
        let unknown = |message: String| Diagnosis::new(Code::UNKNOWN_WORKFLOW, message);
        let Some(versions) = self.workflows.get(&parsed) else {
            let names: Vec<&str> = self.workflows.keys().map(WorkflowName::as_str).collect();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`kapelle workflow list` shows what is registered".to_owned(),
            };
            return Err(unknown(format!("there is no workflow {name}")).hint(hint));
        };
        highest(versions, &requirement)
            .ok_or_else(|| unknown(format!("no registered version of workflow {name} matches {requirement}")))
    }
}

/// What a workflow takes.
fn compiled(workflow: &Workflow, version: &WorkflowVersion) -> Result<Checker, Diagnosis> {
    let invalid = |e| Diagnosis::new(Code::SCHEMA_INVALID, format!("the input schema of {version}: {e}"));
    workflow.spec.input.compile().map_err(invalid)
}

/// The highest version that matches; pre-releases only where nothing else does.
fn highest<'v, M>(versions: &'v BTreeMap<Version, Entry<M>>, requirement: &VersionReq) -> Option<&'v Entry<M>> {
    versions.iter().rev().find(|(v, _)| requirement.matches(v.semver())).map(|(_, entry)| entry)
}

impl kapelle_manifest::Catalog for &Snapshot {
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>> {
        let fits = |v: &Version| requirement.matches(v.semver()) && !self.is_out(name, v);
        self.agents.get(name)?.iter().rev().find(|(v, _)| fits(v)).map(|(_, entry)| Arc::clone(&entry.manifest))
    }

    fn agent_names(&self) -> Vec<AgentName> {
        self.agents.keys().cloned().collect()
    }

    fn capable(&self, wanted: &str) -> Vec<Arc<Agent>> {
        kapelle_manifest::capable(self.agents_in_use(), wanted)
    }

    fn capabilities(&self) -> Vec<String> {
        kapelle_manifest::capabilities(self.agents_in_use())
    }

    fn workflow(&self, name: &WorkflowName, requirement: &VersionReq) -> Option<Arc<Workflow>> {
        highest(self.workflows.get(name)?, requirement).map(|entry| Arc::clone(&entry.manifest))
    }

    fn workflow_names(&self) -> Vec<WorkflowName> {
        self.workflows.keys().cloned().collect()
    }

    fn retired(&self, name: &AgentName) -> Vec<Version> {
        self.standings.keys().filter(|it| it.name == *name).map(|it| it.version.clone()).collect()
    }
}
