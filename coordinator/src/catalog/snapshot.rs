//! The registered manifests at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use kapelle_bus::registry::{Kind, Registered, Release, Standing, Subject};
use kapelle_bus::tasks::QueueLimits;
use kapelle_manifest::{Agent, Current, Graph, Manifest, Workflow};
use kapelle_types::{AgentName, AgentVersion, Sha256, Version, WorkflowName, WorkflowVersion};
use semver::VersionReq;

use super::choice::by_preference;
use super::resolve::Drawn;

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
    pub(super) agents: Versions<AgentName, Agent>,
    pub(super) workflows: Versions<WorkflowName, Workflow>,
    /// The agent versions that are on their way out, or gone: nothing is resolved to them.
    pub(super) standings: BTreeMap<AgentVersion, Standing>,
    /// Which versions runs get; of whatever is not here, the highest.
    releases: BTreeMap<Subject, Release>,
    /// What was resolved against this snapshot, by workflow and requirement.
    pub(super) resolved: Mutex<HashMap<(String, String), Vec<Drawn>>>,
}

/// Another snapshot, and the queue that a new agent needs.
type Changed = (Snapshot, Option<Queue>);

/// A queue that has to be there.
pub(super) type Queue = (AgentVersion, QueueLimits);

/// What the queue of an agent has to tell.
const fn limits(agent: &Agent, stopped: bool) -> QueueLimits {
    let limits = &agent.spec.role.limits;
    QueueLimits { concurrency: limits.concurrency, rate: limits.rate, cost_per_day: limits.cost_per_day, stopped }
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
                let limits = limits(&agent, next.stops(&id));
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

    /// This snapshot with another release; `None` if it is there already.
    pub(crate) fn releasing(&self, subject: &Subject, release: Option<&Release>) -> Option<Self> {
        if self.releases.get(subject) == release {
            return None;
        }
        let mut next = self.another();
        match release {
            Some(release) => next.releases.insert(subject.clone(), release.clone()),
            None => next.releases.remove(subject),
        };
        Some(next)
    }

    /// The release of an agent or a workflow; `None`: runs get the highest version.
    #[must_use]
    pub fn release(&self, subject: &Subject) -> Option<&Release> {
        self.releases.get(subject)
    }

    /// Every release.
    #[must_use]
    pub const fn releases(&self) -> &BTreeMap<Subject, Release> {
        &self.releases
    }

    /// The same, with nothing resolved.
    fn another(&self) -> Self {
        let (agents, workflows) = (self.agents.clone(), self.workflows.clone());
        let (standings, releases) = (self.standings.clone(), self.releases.clone());
        Self { agents, workflows, standings, releases, resolved: Mutex::default() }
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
        let agent = || AgentVersion { name: name.clone(), version: version.clone() };
        !self.standings.is_empty() && self.standings.get(&agent()).is_some_and(|standing| standing.status.is_out())
    }

    /// The declared graph of what is in use, and of these agent versions beside it.
    #[must_use]
    pub fn graph(&self, also: &AgentVersion) -> Graph {
        let known = self.agent_manifests().filter(|it| {
            let version = it.version();
            version == *also || !self.standings.contains_key(&version)
        });
        let workflows = self.workflow_manifests();
        Graph::of(known.cloned(), workflows.cloned()).with_current(self.current())
    }

    /// Which versions are released as the current ones.
    fn current(&self) -> Current {
        let mut current = Current::default();
        for (subject, release) in &self.releases {
            let version = release.current.clone();
            match subject.kind {
                Kind::Agent => current.agents.extend(subject.name.parse().ok().map(|name| (name, version))),
                Kind::Workflow => current.workflows.extend(subject.name.parse().ok().map(|name| (name, version))),
            }
        }
        current
    }

    /// Of each workflow, the versions that a job gets which asks for none.
    #[must_use]
    pub fn current_workflows(&self) -> Vec<Arc<Workflow>> {
        let current = |(name, all): (&WorkflowName, &BTreeMap<Version, Entry<Workflow>>)| -> Vec<Arc<Workflow>> {
            let release = self.release(&Subject::workflow(name));
            let mut taken: Vec<&Version> = release.into_iter().flat_map(Release::versions).collect();
            if taken.is_empty() {
                let highest = by_preference(all, None, false, &VersionReq::STAR).next();
                taken.extend(highest.or_else(|| all.iter().next_back()).map(|(version, _)| version));
            }
            taken.into_iter().filter_map(|version| Some(Arc::clone(&all.get(version)?.manifest))).collect()
        };
        self.workflows.iter().flat_map(current).collect()
    }

    /// The version of an agent that a run gets.
    pub(super) fn agent_for(&self, name: &AgentName, requirement: &VersionReq, ramps: bool) -> Option<Arc<Agent>> {
        let release = self.release(&Subject::agent(name));
        let mut all = by_preference(self.agents.get(name)?, release, ramps, requirement).peekable();
        // Of what is released and stopped for good no other version takes the place that nobody has released.
        let stopped = |version: &Version| self.stops(&AgentVersion { name: name.clone(), version: version.clone() });
        if let (Some(release), Some((first, _))) = (release, all.peek())
            && release.versions().any(|it| it == *first)
            && self.is_out(name, first)
            && stopped(first)
        {
            return None;
        }
        all.find(|(version, _)| !self.is_out(name, version)).map(|(_, entry)| Arc::clone(&entry.manifest))
    }

    /// The version of a workflow that a run gets.
    pub(super) fn workflow_for(
        &self,
        name: &WorkflowName,
        requirement: &VersionReq,
        ramps: bool,
    ) -> Option<Arc<Workflow>> {
        self.workflow_entry_for(name, requirement, ramps).map(|entry| Arc::clone(&entry.manifest))
    }

    pub(super) fn workflow_entry_for(
        &self,
        name: &WorkflowName,
        requirement: &VersionReq,
        ramps: bool,
    ) -> Option<&Entry<Workflow>> {
        let release = self.release(&Subject::workflow(name));
        by_preference(self.workflows.get(name)?, release, ramps, requirement).next().map(|(_, entry)| entry)
    }

    /// Who declares a capability, one version of each agent: of what is released, the one that a run gets.
    pub(super) fn capable_for(&self, wanted: &str, ramps: impl Fn(&AgentName) -> bool) -> Vec<Arc<Agent>> {
        let is_released = |name: &AgentName| self.release(&Subject::agent(name)).is_some();
        let others = self.agents_in_use().filter(|it| !is_released(&it.metadata.name));
        let others = kapelle_manifest::capable(others, wanted);
        let released = self.agents.keys().filter(|name| is_released(name));
        let released = released.filter_map(|name| self.agent_for(name, &VersionReq::STAR, ramps(name)));
        kapelle_manifest::highest_of(others.into_iter().chain(released.filter(|it| it.declares(wanted))))
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
        let queue = |agent: &Agent| (agent.version(), limits(agent, self.stops(&agent.version())));
        entries.map(|e| queue(&e.manifest)).collect()
    }

    /// The queue of one agent version.
    pub(super) fn queue(&self, agent: &AgentVersion) -> Option<Queue> {
        Some((agent.clone(), limits(self.agent(agent)?, self.stops(agent))))
    }

    /// Whether an agent version is stopped: none of its tasks is worked at.
    #[must_use]
    pub fn stops(&self, agent: &AgentVersion) -> bool {
        self.standings.get(agent).is_some_and(|standing| standing.status.stops())
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

    /// One record: a version, or the one that is current, or the highest; one in use, if there is one.
    #[must_use]
    pub fn record(&self, kind: Kind, name: &str, version: Option<&Version>) -> Option<&Arc<Registered>> {
        let of_name = self.records().filter(|r| r.kind == kind && r.name == name);
        let current = self.release(&Subject { kind, name: name.to_owned() }).map(|it| &it.current);
        let rank = |it: &&Arc<Registered>| {
            (
                self.standing_of_record(it).is_none_or(|it| !it.status.is_out()),
                current == Some(&it.version),
                it.version.clone(),
            )
        };
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

    /// Every version of an agent or a workflow, the lowest first.
    #[must_use]
    pub fn versions_of(&self, subject: &Subject) -> Vec<Version> {
        let of_name = self.records().filter(|r| r.kind == subject.kind && r.name == subject.name);
        let mut versions: Vec<Version> = of_name.map(|r| r.version.clone()).collect();
        versions.sort();
        versions
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
}

/// As runs get them that are not drawn for what is being brought in.
impl kapelle_manifest::Catalog for &Snapshot {
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>> {
        self.agent_for(name, requirement, false)
    }

    fn agent_names(&self) -> Vec<AgentName> {
        self.agents.keys().cloned().collect()
    }

    fn capable(&self, wanted: &str) -> Vec<Arc<Agent>> {
        self.capable_for(wanted, |_| false)
    }

    fn capabilities(&self) -> Vec<String> {
        kapelle_manifest::capabilities(self.agents_in_use())
    }

    fn workflow(&self, name: &WorkflowName, requirement: &VersionReq) -> Option<Arc<Workflow>> {
        self.workflow_for(name, requirement, false)
    }

    fn workflow_names(&self) -> Vec<WorkflowName> {
        self.workflows.keys().cloned().collect()
    }

    fn retired(&self, name: &AgentName) -> Vec<Version> {
        let out = self.standings.iter().filter(|(it, standing)| it.name == *name && standing.status.is_out());
        out.map(|(it, _)| it.version.clone()).collect()
    }
}
