//! Which of several versions a run gets.
//!
//! Where something is released, all runs get its current version, but for the share of a version that is being brought in;
//! which runs those are follows from their ids alone, so that a run that is submitted twice gets the same twice, and each
//! agent of it is drawn by itself. What neither of the two versions matches is given the highest version that does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use kapelle_bus::registry::{Release, Subject};
use kapelle_manifest::{Agent, Catalog, Workflow};
use kapelle_types::{AgentName, AgentVersion, RunId, Sha256, Version, WorkflowName};
use semver::VersionReq;

use super::Snapshot;
use super::snapshot::Entry;

/// What runs were drawn for, and whether they got what is being brought in.
pub(super) type Draws = BTreeMap<Subject, bool>;

/// The registered manifests as one run gets them.
pub(super) struct Choice<'s> {
    snapshot: &'s Snapshot,
    /// `None` is nobody's, which gets what is current.
    run: Option<RunId>,
    /// What it was drawn for until now.
    draws: RefCell<Draws>,
}

/// Whether a run is among those that get the version which is being brought in.
fn drawn(subject: &Subject, release: &Release, run: Option<RunId>) -> bool {
    let Some(run) = run else { return false };
    let Some(ramp) = release.ramp.as_ref().filter(|ramp| !ramp.share.is_none()) else { return false };
    let digest = Sha256::of(format!("{subject} {run}").as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    ramp.share.takes(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// Whether these draws are those of a run, too.
pub(super) fn same_draws(snapshot: &Snapshot, draws: &Draws, run: Option<RunId>) -> bool {
    draws.iter().all(|(subject, was)| snapshot.release(subject).is_some_and(|it| drawn(subject, it, run) == *was))
}

/// The versions that a requirement matches, the best first: those of the release, then the highest. Pre-releases are taken
/// where they are named, or released.
pub(super) fn by_preference<'v, 'r, M>(
    all: &'v BTreeMap<Version, M>,
    release: Option<&'r Release>,
    ramps: bool,
    requirement: &'r VersionReq,
) -> impl Iterator<Item = (&'v Version, &'v M)> {
    let released = release.into_iter().flat_map(move |it| it.versions_for(ramps));
    let released = released.filter(|v| *requirement == VersionReq::STAR || requirement.matches(v.semver()));
    let highest = all.iter().rev().filter(|(v, _)| requirement.matches(v.semver()));
    released.filter_map(|version| all.get_key_value(version)).chain(highest)
}

impl<'s> Choice<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, run: Option<RunId>) -> Self {
        Self { snapshot, run, draws: RefCell::default() }
    }

    /// What the run was drawn for.
    pub(super) fn into_draws(self) -> Draws {
        self.draws.into_inner()
    }

    /// Whether the run gets what is being brought in of this.
    pub(super) fn ramps(&self, subject: &Subject) -> bool {
        let Some(release) = self.snapshot.release(subject).filter(|it| it.ramp.is_some()) else { return false };
        *self.draws.borrow_mut().entry(subject.clone()).or_insert_with(|| drawn(subject, release, self.run))
    }
}

impl Catalog for Choice<'_> {
    fn agent(&self, name: &AgentName, requirement: &VersionReq) -> Option<Arc<Agent>> {
        self.snapshot.agent_for(name, requirement, self.ramps(&Subject::agent(name)))
    }

    fn agent_names(&self) -> Vec<AgentName> {
        self.snapshot.agent_names()
    }

    fn capable(&self, wanted: &str) -> Vec<Arc<Agent>> {
        self.snapshot.capable_for(wanted, |name| self.ramps(&Subject::agent(name)))
    }

    fn capabilities(&self) -> Vec<String> {
        self.snapshot.capabilities()
    }

    fn workflow(&self, name: &WorkflowName, requirement: &VersionReq) -> Option<Arc<Workflow>> {
        self.snapshot.workflow_for(name, requirement, self.ramps(&Subject::workflow(name)))
    }

    fn workflow_names(&self) -> Vec<WorkflowName> {
        self.snapshot.workflow_names()
    }

    fn retired(&self, name: &AgentName) -> Vec<Version> {
        self.snapshot.retired(name)
    }
}

impl Snapshot {
    /// The version of an agent that a run gets.
    pub(super) fn agent_for(&self, name: &AgentName, requirement: &VersionReq, ramps: bool) -> Option<Arc<Agent>> {
        let release = self.release(&Subject::agent(name));
        let id = |version: &Version| AgentVersion { name: name.clone(), version: version.clone() };
        let mut all = by_preference(self.agents.get(name)?, release, ramps, requirement).peekable();
        // Of what is released and has gone no other version takes the place that nobody has released.
        let has_gone = |agent: &AgentVersion| self.is_over(agent) || self.is_out(agent) && self.stops(agent);
        if let (Some(release), Some((first, _))) = (release, all.peek())
            && release.versions().any(|it| it == *first)
            && has_gone(&id(first))
        {
            return None;
        }
        all.find(|(version, _)| !self.is_out(&id(version))).map(|(_, entry)| Arc::clone(&entry.manifest))
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
        let versions = self.agents.get(name).into_iter().flat_map(BTreeMap::keys);
        let id = |version: &Version| AgentVersion { name: name.clone(), version: version.clone() };
        versions.filter(|version| self.is_out(&id(version))).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use kapelle_bus::registry::{Kind, Ramp, Share};
    use kapelle_types::{Principal, Timestamp};

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn release(current: &str, ramp: Option<(&str, f64)>) -> Release {
        let ramp = ramp.map(|(it, percentage)| Ramp::by_hand(version(it), Share::percent(percentage).unwrap()));
        let (by, at) = (Principal("ada".into()), Timestamp::from_nanos(0));
        Release { current: version(current), ramp, before: Vec::new(), by, at, why: String::new() }
    }

    fn run(n: u32) -> Option<RunId> {
        Some(RunId::keyed("default", &"w".parse().unwrap(), &n.to_string()))
    }

    #[test]
    fn a_share_that_grows_takes_runs_in_and_lets_none_out() {
        let subject = |name: &str| Subject { kind: Kind::Agent, name: name.to_owned() };
        let drawn_at = |name: &str, percentage: f64| -> Vec<bool> {
            let release = release("1.0.0", Some(("2.0.0", percentage)));
            (0..10_000).map(|n| drawn(&subject(name), &release, run(n))).collect()
        };
        let count = |drawn: &[bool]| drawn.iter().filter(|it| **it).count();
        let (few, more, all) = (drawn_at("read", 1.0), drawn_at("read", 10.0), drawn_at("read", 100.0));
        assert!(
            (50..200).contains(&count(&few)) && (850..1_150).contains(&count(&more)),
            "{} {}",
            count(&few),
            count(&more)
        );
        assert!(few.iter().zip(&more).all(|(few, more)| !few || *more));
        assert_eq!((count(&all), count(&drawn_at("read", 0.0))), (10_000, 0));
        // Each name is drawn by itself: of a tenth, a tenth.
        let other = drawn_at("write", 10.0);
        let both = more.iter().zip(&other).filter(|(a, b)| **a && **b).count();
        assert!((50..200).contains(&both), "{both}");
        assert!(!drawn(&subject("read"), &release("1.0.0", Some(("2.0.0", 100.0))), None), "nobody's");
    }

    #[test]
    fn what_is_released_comes_before_what_is_higher_where_it_fits() {
        let all: BTreeMap<Version, ()> =
            ["1.0.0", "1.1.0", "2.0.0", "3.0.0-rc.1"].into_iter().map(|it| (version(it), ())).collect();
        let first = |release: Option<&Release>, ramps: bool, requirement: &str| {
            let requirement = requirement.parse().unwrap();
            by_preference(&all, release, ramps, &requirement).next().map(|(version, ())| version.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        let ramping = release("1.0.0", Some(("1.1.0", 50.0)));
        for (release, ramps, requirement, expected) in [
            (None, false, "*", some("2.0.0")),
            (None, true, "^1", some("1.1.0")),
            (None, false, "=3.0.0-rc.1", some("3.0.0-rc.1")),
            (Some(&ramping), false, "*", some("1.0.0")),
            (Some(&ramping), true, "*", some("1.1.0")),
            (Some(&ramping), true, "=1.0.0", some("1.0.0")),
            (Some(&ramping), true, "^2", some("2.0.0")),
            (Some(&ramping), true, "^4", None),
            (Some(&release("3.0.0-rc.1", None)), false, "*", some("3.0.0-rc.1")),
            (Some(&release("3.0.0-rc.1", None)), false, "^1", some("1.1.0")),
            (Some(&release("9.0.0", None)), false, "*", some("2.0.0")),
        ] {
            assert_eq!(first(release, ramps, requirement), expected, "{release:?} {ramps} {requirement}");
        }
    }
}
