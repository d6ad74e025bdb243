//! The registered manifests at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kapelle_bus::registry::{Kind, Registered};
use kapelle_expression::nearest;
use kapelle_manifest::{Agent, Manifest, Nobody, Workflow};
use kapelle_types::{AgentName, AgentVersion, Code, Diagnosis, Sha256, Version, WorkflowName, WorkflowVersion};
use semver::VersionReq;

use super::Resolved;
use crate::plans::{PlanStore, pin};

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
    /// What was resolved against this snapshot.
    resolved: Mutex<HashMap<(String, String), Arc<Resolved>>>,
}

/// Another snapshot, and the queue that a new agent needs.
type Changed = (Snapshot, Option<(AgentVersion, u32)>);

impl Snapshot {
    /// This snapshot with one record more; `None` if it is there already.
    pub(super) fn with(&self, record: &Registered) -> Result<Option<Changed>, serde_json::Error> {
        let manifest: Manifest = serde_json::from_value(record.manifest.clone())?;
        let mut next = Self { agents: self.agents.clone(), workflows: self.workflows.clone(), ..Self::default() };
        let record = Arc::new(record.clone());
        let version = record.version.clone();
        Ok(match manifest {
            Manifest::Agent(agent) => {
                let id = AgentVersion { name: agent.metadata.name.clone(), version: version.clone() };
                let concurrency = agent.spec.role.limits.concurrency;
                let entry = Entry { manifest: Arc::new(agent), record };
                let there = next.agents.entry(id.name.clone()).or_default().insert(version, entry);
                there.is_none().then_some((next, Some((id, concurrency))))
            }
            Manifest::Workflow(workflow) => {
                let name = workflow.metadata.name.clone();
                let entry = Entry { manifest: Arc::new(workflow), record };
                let there = next.workflows.entry(name).or_default().insert(version, entry);
                there.is_none().then_some((next, None))
            }
        })
    }

    /// Every registered agent version.
    #[must_use]
    pub fn agent_versions(&self) -> Vec<AgentVersion> {
        let versions = |(name, all): (&AgentName, &BTreeMap<Version, _>)| -> Vec<AgentVersion> {
            all.keys().map(|v| AgentVersion { name: name.clone(), version: v.clone() }).collect()
        };
        self.agents.iter().flat_map(versions).collect()
    }

    /// The queue that each agent version needs: how many of its tasks may be worked on at once.
    pub(super) fn queues(&self) -> Vec<(AgentVersion, u32)> {
        let entries = self.agents.values().flat_map(BTreeMap::values);
        entries.map(|e| (e.manifest.version(), e.manifest.spec.role.limits.concurrency)).collect()
    }

    fn agent_manifests(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values().flat_map(BTreeMap::values).map(|entry| &entry.manifest)
    }

    /// Every record, agents first.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Registered>> {
        let agents = self.agents.values().flat_map(BTreeMap::values).map(|e| &e.record);
        agents.chain(self.workflows.values().flat_map(BTreeMap::values).map(|e| &e.record))
    }

    /// One record: a version, or the highest.
    #[must_use]
    pub fn record(&self, kind: Kind, name: &str, version: Option<&Version>) -> Option<&Arc<Registered>> {
        let of_name = self.records().filter(|r| r.kind == kind && r.name == name);
        of_name.filter(|r| version.is_none_or(|v| r.version == *v)).max_by(|a, b| a.version.cmp(&b.version))
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

    /// The digest of an agent's manifest, as it is registered.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`: the agent is of another catalog.
    fn agent_digest(&self, agent: &Agent) -> Result<Sha256, Diagnosis> {
        let registered = self.agents.get(&agent.metadata.name).and_then(|all| all.get(&agent.metadata.version));
        let foreign = || Diagnosis::new(Code::UNKNOWN_AGENT, format!("{} is not registered", agent.version()));
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
        let mut agents = Vec::new();
        for step in &workflow.spec.steps {
            let unknown = |nobody: Nobody| {
                Diagnosis::new(Code::UNKNOWN_AGENT, format!("step {} of {version}: {nobody}", step.id))
                    .hint(nobody.hint)
            };
            let agent = step.performer.resolve(&self).map_err(unknown)?;
            pins.push(pin(&step.id, &agent, self.agent_digest(&agent)?));
            agents.push(agent);
        }
        let digest: Sha256 = entry.record.digest;
        plans
            .compile(&version, digest, &pins, workflow, &agents)
            .map_err(|e| Diagnosis::new(Code::PLAN_MISSING, e.to_string()))?;
        let contract = workflow
            .spec
            .input
            .compile()
            .map_err(|e| Diagnosis::new(Code::SCHEMA_INVALID, format!("the input schema of {version}: {e}")))?;
        Ok(Resolved { workflow: version, digest, pins, contract })
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

/// The highest version that matches; pre-releases only where nothing else does.
fn highest<'v, M>(versions: &'v BTreeMap<Version, Entry<M>>, requirement: &VersionReq) -> Option<&'v Entry<M>> {
    versions.iter().rev().find(|(v, _)| requirement.matches(v.semver())).map(|(_, entry)| entry)
}

impl kapelle_manifest::Catalog for &Snapshot {
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>> {
        highest(self.agents.get(name)?, requirement).map(|entry| Arc::clone(&entry.manifest))
    }

    fn agent_names(&self) -> Vec<AgentName> {
        self.agents.keys().cloned().collect()
    }

    fn capable(&self, wanted: &str) -> Vec<Arc<Agent>> {
        kapelle_manifest::capable(self.agent_manifests(), wanted)
    }

    fn capabilities(&self) -> Vec<String> {
        kapelle_manifest::capabilities(self.agent_manifests())
    }
}
