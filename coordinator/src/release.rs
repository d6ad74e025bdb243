//! Which versions of an agent or a workflow the runs to come get: decided by people, checked here, and written over what they
//! saw.
//!
//! ```text
//!   nothing ──set-current──▶ current ──set-ramping──▶ current, ramping 1 … 100 % ──promote──▶ current
//!      ▲                        │  ▲                        │
//!      └───────clear────────────┘  └───────rollback─────────┘        rollback again: what was current before
//! ```
//!
//! A version may get runs if it is registered, in use, breaks no workflow that is there, and, if it is an agent's, some worker
//! takes its tasks. Runs that are open keep what they were pinned to, whatever is decided. A ramp that goes on by itself is
//! tended by [`crate::rollout`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::registry::{Kind, Ramp, Release, Rollout, SeenRelease, Share, Subject};
use kapelle_bus::{Refusal, presence};
use kapelle_manifest::{broken, keeps_workflows};
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, Code, Diagnosis, Principal, Version};
use tokio::time::{Instant, sleep};

use crate::catalog::{Catalog, Snapshot};
use crate::followers::Followers;
use crate::partitions::Served;
use crate::pinned::{self, Pinned, Wanted};

/// How long a worker may take to announce an agent version that was registered just now.
const SERVE_PATIENCE: Duration = Duration::from_secs(3);
/// How often is looked whether one does.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long other coordinators may take to follow before it is said that they do not.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(5);

/// Decides about releases. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Releases {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) followers: Followers,
    pub(crate) served: Served,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// All runs get this version, but for the share of a ramp.
    Current(Version),
    /// This share of the runs gets this version.
    Ramping(Version, Share),
    /// This version is brought in by itself, from this stage on.
    Rollout(Version, Rollout),
    /// A rollout stays where it is.
    Pause,
    /// It goes on.
    Resume,
    /// What is ramping becomes current.
    Promote,
    /// The ramp ends; without one, what was current before is current again.
    Rollback,
    /// Runs get the highest version again.
    Clear,
}

/// Who wants it, and what they take upon themselves.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) change: Change,
    pub(crate) by: Principal,
    pub(crate) why: String,
    /// Although it breaks workflows that are there.
    pub(crate) force: bool,
    /// Although no worker takes its tasks.
    pub(crate) ignore_missing_workers: bool,
}

/// What would be written, over what was seen.
#[derive(Debug)]
pub(crate) struct Planned {
    subject: Subject,
    seen: u64,
    next: Option<Release>,
    /// It is like that already.
    pub(crate) unchanged: bool,
}

/// Versions as they stand.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    /// Open runs by version, as far as is known.
    pub(crate) open: BTreeMap<Version, u64>,
    /// Whether all of them are known.
    pub(crate) complete: bool,
    /// Workers that take tasks, by version.
    pub(crate) workers: BTreeMap<Version, u32>,
}

impl Releases {
    /// Checks a change without making it.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`, `UNKNOWN_WORKFLOW`, `AGENT_RETIRED`, `WRONG_STATE` if there is nothing to promote or to go back to,
    /// `RELEASE_UNSERVED`, `BREAKS_WORKFLOWS`, `REQUEST_INVALID`, `BROKER_UNAVAILABLE`.
    pub(crate) async fn plan(&self, subject: &Subject, wish: &Wish) -> Result<Planned, Diagnosis> {
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        let SeenRelease { release, revision } =
            self.catalog.registry().release(subject).await.map_err(|e| unavailable(&e))?;
        let next = next(subject, release.clone(), wish)?;
        let versions =
            |of: &Option<Release>| -> Vec<Version> { of.iter().flat_map(Release::versions).cloned().collect() };
        let there = versions(&release);
        let snapshot = self.catalog.snapshot();
        for version in versions(&next).iter().filter(|it| !there.contains(it)) {
            self.may_get_runs(&snapshot, subject, version, wish).await?;
        }
        if let (Kind::Agent, false, true) = (subject.kind, wish.force, next != release) {
            keeps_what_is_there(&snapshot, subject, next.as_ref())?;
        }
        let routes = |of: &Option<Release>| of.as_ref().map(|it| (it.current.clone(), it.ramp.clone()));
        let unchanged = routes(&release) == routes(&next);
        Ok(Planned { subject: subject.clone(), seen: revision, next, unchanged })
    }

    /// Makes a change, and gives the coordinators that do not follow it yet.
    ///
    /// # Errors
    /// `WRONG_STATE` if somebody else decided meanwhile; `BROKER_UNAVAILABLE`.
    pub(crate) async fn make(&self, planned: Planned) -> Result<Vec<String>, Diagnosis> {
        let Planned { subject, seen, next, unchanged } = planned;
        if unchanged {
            return Ok(Vec::new());
        }
        let registry = self.catalog.registry();
        registry.route(&subject, next.as_ref(), seen).await.map_err(|e| not_written(&subject, &e))?;
        tracing::info!(%subject, current = next.as_ref().map(|it| it.current.to_string()), "released");
        // Where a marker stands is not told; what was written last is at or behind it.
        let revision = registry.last_seq().await.map_err(|e| unavailable(&e))?;
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        self.followers.behind(revision, FOLLOW_PATIENCE).await.map_err(|e| unavailable(&e))
    }

    /// How the versions of an agent or a workflow stand.
    pub(crate) async fn overview(&self, subject: &Subject) -> Overview {
        let Followers { bus, id, peers } = &self.followers;
        let wanted = Wanted { kind: subject.kind, name: subject.name.clone(), version: None };
        let peers = peers.borrow().clone();
        let known = pinned::by_partition(bus, id, &self.served, &peers, wanted).await;
        let mut complete = known.len() == usize::from(bus.partitions().count());
        let mut all = Pinned::default();
        known.into_values().for_each(|it| all.merge(it));
        complete &= all.unknown == 0;
        let mut workers = BTreeMap::new();
        if subject.kind == Kind::Agent {
            for agent in
                self.taken().await.unwrap_or_default().into_iter().filter(|it| it.name.as_str() == subject.name)
            {
                *workers.entry(agent.version).or_default() += 1;
            }
        }
        Overview { open: all.versions, complete, workers }
    }

    /// Of each living worker, the agent versions that it takes tasks of.
    async fn taken(&self) -> Result<Vec<AgentVersion>, kapelle_bus::Error> {
        let present = self.followers.bus.present().await?;
        let workers = present.into_iter().filter(|it| it.kind == presence::Kind::Worker && !it.draining);
        Ok(workers.flat_map(|it| it.agents).collect())
    }

    async fn may_get_runs(
        &self,
        snapshot: &Snapshot,
        subject: &Subject,
        version: &Version,
        wish: &Wish,
    ) -> Result<(), Diagnosis> {
        if snapshot.record(subject.kind, &subject.name, Some(version)).is_none() {
            let code = if subject.kind == Kind::Agent { Code::UNKNOWN_AGENT } else { Code::UNKNOWN_WORKFLOW };
            let message = format!("there is no {subject}@{version}");
            return Err(Diagnosis::new(code, message)
                .hint(format!("`kapelle release describe {}` shows the versions that there are", subject.name)));
        }
        let Ok(name) = subject.name.parse() else { return Ok(()) };
        let agent = AgentVersion { name, version: version.clone() };
        if subject.kind != Kind::Agent {
            return Ok(());
        }
        if let Some(standing) = snapshot.standing_of(&agent) {
            let message = format!("{agent} is {}", standing.status.as_str());
            return Err(Diagnosis::new(Code::AGENT_RETIRED, message)
                .hint(format!("`kapelle agent reinstate {agent}` puts it back into use")));
        }
        if snapshot.is_over(&agent) {
            let message = format!("the time of {agent} is over");
            return Err(Diagnosis::new(Code::AGENT_RETIRED, message)
                .hint(format!("`kapelle agent deprecate {agent} --undo` or another --sunset gives it time")));
        }
        let patience = Instant::now() + SERVE_PATIENCE;
        while !wish.ignore_missing_workers && !self.taken().await.map_err(|e| unavailable(&e))?.contains(&agent) {
            if Instant::now() >= patience {
                let message = format!("no worker takes tasks of {agent}: runs that get it would wait");
                return Err(Diagnosis::new(Code::RELEASE_UNSERVED, message).hint(
                    "start a worker for it first (`kapelle worker list` shows which agents each takes), or say \
                     --ignore-missing-workers",
                ));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// What is released after a change.
fn next(subject: &Subject, release: Option<Release>, wish: &Wish) -> Result<Option<Release>, Diagnosis> {
    let wrong = |message: String, hint: &str| Diagnosis::new(Code::WRONG_STATE, message).hint(hint.to_owned());
    let stamped =
        |release: Release| Release { by: wish.by.clone(), at: clock::now(), why: wish.why.clone(), ..release };
    let first = |version: &Version| Release {
        current: version.clone(),
        ramp: None,
        before: Vec::new(),
        by: wish.by.clone(),
        at: clock::now(),
        why: wish.why.clone(),
    };
    let nothing = || {
        wrong(format!("nothing is released of {subject}"), "say what is current first: `kapelle release set-current`")
    };
    let next = match (&wish.change, release) {
        (Change::Clear, _) => return Ok(None),
        (Change::Current(version), None) => first(version),
        (Change::Current(version), Some(release)) => release.with_current(version.clone()),
        (Change::Ramping(version, _) | Change::Rollout(version, _), Some(release)) if release.current == *version => {
            let message = format!("{subject}@{version} is current: all runs get it");
            return Err(wrong(message, "give the version that is to be brought in"));
        }
        (Change::Ramping(version, share), Some(release)) => {
            Release { ramp: Some(Ramp::by_hand(version.clone(), *share)), ..release }
        }
        (Change::Rollout(version, rollout), Some(release)) => {
            Release { ramp: Some(Ramp::by_itself(version.clone(), rollout.clone())), ..release }
        }
        (Change::Pause | Change::Resume, Some(release)) => moved(subject, release, &wish.change)?,
        (Change::Promote, Some(release)) => {
            let Some(ramp) = release.ramp.clone() else {
                let hint = "`kapelle release set-ramping` begins to bring one in";
                return Err(wrong(format!("no version of {subject} is being brought in"), hint));
            };
            release.with_current(ramp.version)
        }
        (Change::Rollback, Some(release)) => {
            let at_the_first = || {
                let hint = "`kapelle release clear` has runs get the highest version again";
                wrong(format!("nothing was current of {subject} before"), hint)
            };
            release.rolled_back().ok_or_else(at_the_first)?
        }
        (_, None) => return Err(nothing()),
    };
    Ok(Some(stamped(next)))
}

/// A release whose rollout is held, or goes on; as it was if there is nothing to it.
fn moved(subject: &Subject, release: Release, change: &Change) -> Result<Release, Diagnosis> {
    let Some((version, rollout)) = release.rollout() else {
        let message = format!("no version of {subject} is being brought in by itself");
        return Err(Diagnosis::new(Code::WRONG_STATE, message)
            .hint("`kapelle release set-ramping --steps …` begins that; a ramp without steps moves by hand"));
    };
    let rollout = if *change == Change::Pause { rollout.pause() } else { rollout.resume() };
    let ramp = rollout.map(|rollout| Ramp::by_itself(version.clone(), rollout));
    Ok(Release { ramp: ramp.or_else(|| release.ramp.clone()), ..release })
}

/// Whether no workflow that is there would break by what runs get then, drawn for a ramp or not.
fn keeps_what_is_there(before: &Snapshot, subject: &Subject, next: Option<&Release>) -> Result<(), Diagnosis> {
    let as_current = |release: &Release, version: &Version| Release { current: version.clone(), ..release.clone() };
    let afters: Vec<Option<Release>> = match next {
        Some(release) => release.versions().map(|version| Some(as_current(release, version))).collect(),
        None => vec![None],
    };
    let workflows = before.current_workflows();
    for after in afters {
        let Some(after) = before.releasing(subject, after.as_ref()) else { continue };
        keeps_workflows(&broken(workflows.iter().map(|it| &**it), &before, &&after))?;
    }
    Ok(())
}

fn unavailable(error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, error.to_string()).hint("the same command may be given again")
}

fn not_written(subject: &Subject, error: &kapelle_bus::Error) -> Diagnosis {
    match error.refusal() {
        Some(Refusal::NotFirst) => {
            let message = format!("the release of {subject} has been changed meanwhile");
            Diagnosis::new(Code::WRONG_STATE, message).hint("look with `kapelle release describe`, and decide again")
        }
        _ => unavailable(error),
    }
}
