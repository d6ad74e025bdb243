//! Which open runs are pinned to an agent, or to a version of a workflow: each owner knows what its open runs are pinned to, and one question asks them all.
//!
//! An agent is retired on the answer, so it says what it does not know: partitions that nobody answered for, and runs that
//! are known by their id alone since a take-over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use kapelle_bus::Bus;
use kapelle_bus::registry::Kind;
use kapelle_proto::v1;
use kapelle_types::{AgentVersion, Partition, RunId, Timestamp, Version, WorkflowVersion};
use serde::{Deserialize, Serialize};

use crate::ownership::Peers;
use crate::partition::OpenRun;
use crate::partitions::Served;
use crate::questions::ask;

/// Runs that an answer names: enough to look at some; the counts say how many there are.
pub(crate) const NAMED_MAX: usize = 20;
/// How long one of our own partitions may take: less than other coordinators wait for us.
const PATIENCE: Duration = Duration::from_secs(1);

/// What runs are pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// An agent, or a workflow.
    #[serde(default = "agents")]
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version; `None` is any.
    pub version: Option<Version>,
}

/// The open runs of one partition, or of many, that are pinned to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// How many, by workflow version.
    pub workflows: BTreeMap<String, u64>,
    /// How many, by the version that they are pinned to; a run may be pinned to several of an agent.
    #[serde(default)]
    pub versions: BTreeMap<Version, u64>,
    /// Those that were submitted first.
    pub first: Vec<(Timestamp, RunId)>,
    /// How many open runs are known by their id alone.
    pub unknown: u64,
    /// Up to which sequence of the partition's log this is so. 0 from an owner that does not say.
    #[serde(default)]
    pub read_to: u64,
}

/// What a coordinator knows, by partition.
pub type ByPartition = Vec<(Partition, Pinned)>;

/// What older coordinators ask for.
const fn agents() -> Kind {
    Kind::Agent
}

impl Wanted {
    fn takes(&self, name: &str, version: &Version) -> bool {
        name == self.name && self.version.as_ref().is_none_or(|it| it == version)
    }

    /// The versions of this that a run is pinned to.
    fn among<'r>(&self, workflow: &'r WorkflowVersion, agents: &'r [AgentVersion]) -> BTreeSet<&'r Version> {
        match self.kind {
            Kind::Agent => {
                let taken = agents.iter().filter(|it| self.takes(it.name.as_str(), &it.version));
                taken.map(|it| &it.version).collect()
            }
            Kind::Workflow => {
                let taken = [workflow].into_iter().filter(|it| self.takes(it.name.as_str(), &it.version));
                taken.map(|it| &it.version).collect()
            }
        }
    }
}

impl Pinned {
    /// Picks from the open runs of a partition that is read up to a sequence; `unlisted` more are being read.
    pub(crate) fn among<'r>(
        wanted: &Wanted,
        open: impl Iterator<Item = (&'r RunId, &'r OpenRun)>,
        unlisted: usize,
        read_to: u64,
    ) -> Self {
        let mut found = Self { unknown: unlisted as u64, read_to, ..Self::default() };
        for (run, row) in open {
            let (Some(workflow), Some(agents)) = (&row.workflow, &row.agents) else {
                found.unknown += 1;
                continue;
            };
            let versions = wanted.among(workflow, agents);
            if !versions.is_empty() {
                for version in versions {
                    *found.versions.entry(version.clone()).or_default() += 1;
                }
                *found.workflows.entry(workflow.to_string()).or_default() += 1;
                found.first.push((row.submitted_at, *run));
            }
        }
        found.cut();
        found
    }

    /// Adds what another partition answered.
    pub(crate) fn merge(&mut self, other: Self) {
        for (workflow, runs) in other.workflows {
            *self.workflows.entry(workflow).or_default() += runs;
        }
        for (version, runs) in other.versions {
            *self.versions.entry(version).or_default() += runs;
        }
        self.first.extend(other.first);
        self.unknown += other.unknown;
        self.cut();
    }

    fn cut(&mut self) {
        self.first.sort_unstable();
        self.first.truncate(NAMED_MAX);
    }
}

/// Where a coordinator is asked.
pub(crate) fn subject(coordinator: &str) -> String {
    format!("kapelle.coordinator.pinned.{coordinator}")
}

/// What our own partitions know. One that is being taken or let go is left out.
pub(crate) async fn own(served: &Served, wanted: Wanted) -> ByPartition {
    let asked = served.askers().await.into_iter().map(|(partition, asker)| {
        let wanted = wanted.clone();
        async move { Some((partition, tokio::time::timeout(PATIENCE, asker.pinned(wanted)).await.ok()??)) }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Asks every coordinator what it knows, by partition.
pub(crate) async fn by_partition(
    bus: &Bus,
    id: &str,
    served: &Served,
    peers: &Peers,
    wanted: Wanted,
) -> BTreeMap<Partition, Pinned> {
    let others = peers.keys().filter(|peer| peer.as_str() != id);
    let others = join_all(others.map(|peer| ask::<_, ByPartition>(bus, subject(peer), &wanted))).await;
    let mut known: BTreeMap<Partition, Pinned> = BTreeMap::new();
    for (partition, answer) in own(served, wanted).await.into_iter().chain(others.into_iter().flatten().flatten()) {
        // During a hand-over two may answer for one partition: who has read more knows more.
        let read_more = known.get(&partition).is_none_or(|there| there.read_to < answer.read_to);
        if read_more {
            known.insert(partition, answer);
        }
    }
    known
}

/// What partitions answered, as one answer.
pub(crate) fn together(bus: &Bus, known: BTreeMap<Partition, Pinned>) -> v1::PinnedResponse {
    let complete = known.len() == usize::from(bus.partitions().count());
    let mut found = Pinned::default();
    known.into_values().for_each(|it| found.merge(it));
    v1::PinnedResponse {
        workflows: found.workflows.into_iter().map(|(workflow, runs)| v1::PinnedCount { workflow, runs }).collect(),
        run_ids: found.first.iter().map(|(_, run)| run.to_string()).collect(),
        unknown: found.unknown,
        complete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(workflow: &str, at: i64, run: u8, unknown: u64) -> Pinned {
        let run = RunId::keyed("default", &"w".parse().unwrap(), &run.to_string());
        let first = vec![(Timestamp::from_nanos(at), run)];
        Pinned { workflows: [(workflow.to_owned(), 1)].into(), first, unknown, ..Pinned::default() }
    }

    #[test]
    fn answers_add_up_and_name_those_that_came_first() {
        let mut all = Pinned::default();
        for n in (0..30).rev() {
            all.merge(some(if n % 3 == 0 { "a@1.0.0" } else { "b@1.0.0" }, i64::from(n), n, 2));
        }
        assert_eq!(all.workflows, [("a@1.0.0".to_owned(), 10), ("b@1.0.0".to_owned(), 20)].into());
        assert_eq!(all.first.iter().map(|(at, _)| at.nanos()).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        assert_eq!(all.unknown, 60);
    }

    #[test]
    fn a_version_is_one_and_a_name_is_all() {
        let agent: AgentVersion = "read@1.2.0".parse().unwrap();
        let workflow: WorkflowVersion = "read@3.0.0".parse().unwrap();
        let found = |kind: Kind, name: &str, version: Option<&str>| {
            let version = version.map(|it| it.parse().unwrap());
            let wanted = Wanted { kind, name: name.to_owned(), version };
            wanted
                .among(&workflow, std::slice::from_ref(&agent))
                .into_iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(found(Kind::Agent, "read", None), ["1.2.0"]);
        assert_eq!(found(Kind::Agent, "read", Some("1.2.0")), ["1.2.0"]);
        assert!(found(Kind::Agent, "read", Some("1.2.1")).is_empty() && found(Kind::Agent, "reader", None).is_empty());
        assert_eq!(found(Kind::Workflow, "read", None), ["3.0.0"]);
        let older: Wanted = serde_json::from_str(r#"{"name": "read", "version": null}"#).unwrap();
        assert_eq!(older.kind, Kind::Agent, "what older coordinators ask for");
    }
}
