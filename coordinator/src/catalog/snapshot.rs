//! The registered manifests at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use kapelle_bus::registry::{Deprecation, Kind, Registered, Release, Standing, Subject};
use kapelle_bus::tasks::QueueLimits;
use kapelle_manifest::{Agent, Current, Graph, Loss, Manifest, Workflow};
use kapelle_types::{AgentName, AgentVersion, Sha256, Timestamp, Version, WorkflowName, WorkflowVersion};
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
    /// The agent versions that are to be used no more.
    deprecations: BTreeMap<AgentVersion, Deprecation>,
    /// Those of them whose time is over: nothing is resolved to them.
    over: BTreeSet<AgentVersion>,
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
                let limits = limits(&agent, next.closes_queue(&id));
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

    /// This snapshot with an agent version that is deprecated, otherwise, or no more; `None` if it is like that already.
    pub(super) fn deprecating(
        &self,
        agent: &AgentVersion,
        deprecation: Option<&Deprecation>,
        now: Timestamp,
    ) -> Option<Self> {
        if self.deprecations.get(agent) == deprecation {
            return None;
        }
        let mut next = self.another();
        match deprecation {
            Some(deprecation) => next.deprecations.insert(agent.clone(), deprecation.clone()),
            None => next.deprecations.remove(agent),
        };
        next.over = next.over_at(now);
        Some(next)
    }

    /// This snapshot with those over whose time is over by now; `None` if it is none more.
    pub(super) fn later(&self, now: Timestamp) -> Option<Self> {
        let over = self.over_at(now);
        (over != self.over).then(|| Self { over, ..self.another() })
    }

    fn over_at(&self, now: Timestamp) -> BTreeSet<AgentVersion> {
        self.deprecations.iter().filter(|(_, it)| it.sunset <= now).map(|(agent, _)| agent.clone()).collect()
    }

    /// When the next time is over.
    pub(super) fn next_sunset(&self) -> Option<Timestamp> {
        self.deprecations.iter().filter(|(agent, _)| !self.over.contains(agent)).map(|(_, it)| it.sunset).min()
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
        let (deprecations, over) = (self.deprecations.clone(), self.over.clone());
        Self { agents, workflows, standings, deprecations, over, releases, resolved: Mutex::default() }
    }

    /// Until when an agent version is to be used, if that is said.
    #[must_use]
    pub fn deprecation(&self, agent: &AgentVersion) -> Option<&Deprecation> {
        self.deprecations.get(agent)
    }

    /// Every agent version that is to be used no more.
    #[must_use]
    pub const fn deprecations(&self) -> &BTreeMap<AgentVersion, Deprecation> {
        &self.deprecations
    }

    /// Whether the time of an agent version is over.
    #[must_use]
    pub fn is_over(&self, agent: &AgentVersion) -> bool {
        self.over.contains(agent)
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
    pub(crate) fn is_out(&self, agent: &AgentVersion) -> bool {
        self.is_over(agent) || self.standings.get(agent).is_some_and(|standing| standing.status.is_out())
    }

    /// The declared graph of what is in use, and of these agent versions beside it.
    #[must_use]
    pub fn graph(&self, also: &AgentVersion) -> Graph {
        let known = self.agent_manifests().filter(|it| {
            let version = it.version();
            version == *also || !(self.standings.contains_key(&version) || self.is_over(&version))
        });
        let workflows = self.workflow_manifests();
        Graph::of(known.cloned(), workflows.cloned()).with_current(self.current())
    }

    /// The steps of current workflows that get an agent version, and what they get without it.
    #[must_use]
    pub fn who_gets(&self, agent: &AgentVersion) -> Vec<Loss> {
        let current: BTreeSet<_> = self.current_workflows().iter().map(|it| it.version()).collect();
        let mut steps = self.graph(agent).losses(|it| it == agent);
        steps.retain(|it| current.contains(&it.used.workflow));
        steps
    }

    /// Whether an agent version is current in its release, or ramping.
    #[must_use]
    pub fn is_released(&self, agent: &AgentVersion) -> bool {
        let release = self.release(&Subject::agent(&agent.name));
        release.into_iter().flat_map(Release::versions).any(|version| *version == agent.version)
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
        let queue = |agent: &Agent| (agent.version(), limits(agent, self.closes_queue(&agent.version())));
        entries.map(|e| queue(&e.manifest)).collect()
    }

    /// The queue of one agent version.
    pub(super) fn queue(&self, agent: &AgentVersion) -> Option<Queue> {
        Some((agent.clone(), limits(self.agent(agent)?, self.closes_queue(agent))))
    }

    /// Whether an agent version is stopped: none of its tasks is worked at.
    #[must_use]
    pub fn stops(&self, agent: &AgentVersion) -> bool {
        self.standings.get(agent).is_some_and(|standing| standing.status.stops())
    }

    /// Whether the broker gives nothing out of its queue.
    #[must_use]
    pub fn closes_queue(&self, agent: &AgentVersion) -> bool {
        self.standings.get(agent).is_some_and(|standing| standing.status.closes_queue())
    }

    fn agent_manifests(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values().flat_map(BTreeMap::values).map(|entry| &entry.manifest)
    }

    /// The agents that steps may get.
    pub(super) fn agents_in_use(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agent_manifests().filter(|it| !self.is_out(&it.version()))
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
            (agent_of(it).is_none_or(|it| !self.is_out(&it)), current == Some(&it.version), it.version.clone())
        };
        of_name.filter(|r| version.is_none_or(|v| r.version == *v)).max_by_key(rank)
    }

    /// How what a record registers stands; `None` is in use, as every workflow is.
    #[must_use]
    pub fn standing_of_record(&self, record: &Registered) -> Option<&Standing> {
        self.standings.get(&agent_of(record)?)
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

/// The agent version that a record registers, if it is one.
pub(crate) fn agent_of(record: &Registered) -> Option<AgentVersion> {
    if record.kind != Kind::Agent {
        return None;
    }
    Some(AgentVersion { name: record.name.parse().ok()?, version: record.version.clone() })
}
