//! Brings versions in by themselves: looks at what they do, and moves their ramps on, or takes them back.
//!
//! ```text
//!   run reports ──▶ Outcomes of each coordinator ──asked once a second──▶ judge ──▶ next stage │ current │ rolled back
//!                   (since the stage began)                                          written over the release that was judged
//! ```
//!
//! A rollout is tended by the owner of the partition that its name falls to. Nothing depends on there being one alone: a
//! decision is written over the very release that it was made about, so that of two the second finds another one. What is
//! decided is on record first, with what it rests on.

mod judge;
mod outcomes;
mod tally;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kapelle_bus::registry::{Ramp, Release, Rollout, SeenRelease, Subject};
use kapelle_bus::{Bus, Refusal};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::{RELEASE_DECISIONS, RELEASE_RAMPING};
use kapelle_types::{AuditWhat, AuditWho, Diagnosis, Partition, Principal, Timestamp, Version};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::audit::{Fact, Trail};
use crate::catalog::{Catalog, kind_name};
use crate::followers::Followers;
use crate::questions::ask;
use crate::turns::falls_to;

pub(crate) use judge::Verdict;
pub use outcomes::{ByVersion, Outcomes};
pub(crate) use tally::Tally;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who decides what nobody is asked about.
const TENDER: &str = "coordinator:rollout";
/// What a rollout that goes on by itself does, by name.
const PROMOTED: &str = "promoted";
const ADVANCED: &str = "advanced";
const ROLLED_BACK: &str = "rolled_back";

/// What coordinators ask each other: what was counted since a stage began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    subject: Subject,
    since: Timestamp,
}

/// Whoever knows how rollouts stand. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rollouts {
    pub(crate) followers: Followers,
    pub(crate) outcomes: Arc<Outcomes>,
}

/// How a rollout stands.
pub(crate) struct Standing {
    /// What the version did that is brought in.
    pub(crate) candidate: Tally,
    /// What the current one did meanwhile.
    pub(crate) current: Tally,
    pub(crate) verdict: Verdict,
}

/// Whoever tends the rollouts of the partitions that are ours.
pub(crate) struct Tender {
    pub(crate) rollouts: Rollouts,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) trail: Arc<Trail>,
    pub(crate) ours: watch::Receiver<BTreeSet<Partition>>,
}

/// Where a coordinator is asked.
pub(crate) fn subject(coordinator: &str) -> String {
    format!("kapelle.coordinator.outcomes.{coordinator}")
}

/// What this coordinator counted.
pub(crate) fn own(outcomes: &Outcomes, asked: &Asked) -> ByVersion {
    outcomes.counted(&asked.subject, asked.since)
}

impl Rollouts {
    const fn bus(&self) -> &Bus {
        &self.followers.bus
    }

    /// How a rollout stands, by what all coordinators that answer have counted; `None` if it is no release with one.
    pub(crate) async fn standing(&self, subject: &Subject, release: &Release) -> Option<Standing> {
        let (version, rollout) = release.rollout()?;
        let mut seen = self.seen(&Asked { subject: subject.clone(), since: rollout.since }).await;
        let candidate = seen.remove(version).unwrap_or_default();
        let current = seen.remove(&release.current).unwrap_or_default();
        let evidence = judge::Evidence {
            kind: subject.kind,
            candidate: (version, &candidate),
            current: (&release.current, &current),
            baseline: rollout.baseline,
            due: rollout.due().is_some_and(|due| due <= clock::now()),
        };
        let verdict = judge::judge(&rollout.limits, &evidence);
        Some(Standing { candidate, current, verdict })
    }

    /// What all coordinators have counted.
    async fn seen(&self, asked: &Asked) -> ByVersion {
        let peers = self.followers.peers.borrow().clone();
        let others = peers.keys().filter(|peer| **peer != self.followers.id);
        let others = join_all(others.map(|peer| ask::<_, ByVersion>(self.bus(), self::subject(peer), asked))).await;
        let mut all = own(&self.outcomes, asked);
        for (version, tally) in others.into_iter().flatten().flatten() {
            all.entry(version).or_default().merge(tally);
        }
        all
    }
}

impl Tender {
    /// Tends rollouts until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = BTreeSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let snapshot = self.catalog.snapshot();
            show(&mut shown, snapshot.releases().iter());
            let going: Vec<(&Subject, &Release, &Rollout)> = snapshot
                .releases()
                .iter()
                .filter_map(|(subject, release)| Some((subject, release, release.rollout()?.1)))
                .collect();
            let watched: Vec<_> =
                going.iter().map(|(subject, _, rollout)| ((*subject).clone(), rollout.since)).collect();
            self.rollouts.outcomes.watch(&watched);
            let ours = going.into_iter().filter(|(subject, ..)| self.is_ours(subject));
            join_all(ours.map(|(subject, release, _)| self.tend(subject, release))).await;
        }
    }

    fn is_ours(&self, subject: &Subject) -> bool {
        falls_to(self.rollouts.bus().partitions(), &subject.to_string())
            .is_some_and(|partition| self.ours.borrow().contains(&partition))
    }

    /// Looks at one rollout, and decides if it can.
    async fn tend(&self, subject: &Subject, release: &Release) {
        let Some(standing) = self.rollouts.standing(subject, release).await else { return };
        let Some((decision, next)) = decided(release, &standing, clock::now()) else { return };
        match self.write(subject, release, (decision, &next)).await {
            Ok(true) => {
                RELEASE_DECISIONS.counter(&[kind_name(subject.kind), &subject.name, decision]).increment(1);
                tracing::info!(%subject, decision, why = next.why, "a rollout went on");
            }
            Ok(false) => tracing::debug!(%subject, decision, "somebody else decided meanwhile"),
            Err(diagnosis) => tracing::warn!(%subject, decision, %diagnosis, "a rollout waits: it is decided again"),
        }
    }

    /// Writes what was decided over what it was decided about; says whether that was still there.
    async fn write(
        &self,
        subject: &Subject,
        judged: &Release,
        (decision, next): (&str, &Release),
    ) -> Result<bool, Diagnosis> {
        let unavailable =
            |e: kapelle_bus::Error| Diagnosis::new(kapelle_types::Code::BROKER_UNAVAILABLE, e.to_string());
        let registry = self.catalog.registry();
        let SeenRelease { release, revision } = registry.release(subject).await.map_err(unavailable)?;
        if release.as_ref() != Some(judged) {
            return Ok(false);
        }
        let fact = on_record(subject, judged, (decision, next));
        self.trail.act_as(format!("rollout-{subject}-{revision}").replace(' ', "-"), fact).await?;
        match registry.route(subject, Some(next), revision).await {
            Ok(_) => Ok(true),
            Err(error) if error.refusal() == Some(Refusal::NotFirst) => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }
}

/// What follows from how a rollout stands, if anything does.
fn decided(release: &Release, standing: &Standing, now: Timestamp) -> Option<(&'static str, Release)> {
    let (version, rollout) = release.rollout()?;
    let due = rollout.due().is_some_and(|due| due <= now);
    let share = rollout.share().unwrap_or_default().as_percent();
    let stamped = |release: Release, why: String| Release { by: Principal(TENDER.into()), at: now, why, ..release };
    match &standing.verdict {
        Verdict::Fail(reason) => {
            let why = format!("{version} was rolled back at {share} %: {reason}");
            Some((ROLLED_BACK, stamped(Release { ramp: None, ..release.clone() }, why)))
        }
        Verdict::Pass(reason) if due => {
            let why = format!("{version} passed {share} %: {reason}");
            // Where hardly any run got the current version there is nothing new to compare with.
            let enough = standing.current.succeeded >= u64::from(rollout.limits.seen_min);
            let baseline = standing.current.baseline().filter(|_| enough);
            Some(match rollout.next(now, baseline) {
                Some(next) => {
                    let ramp = Some(Ramp::by_itself(version.clone(), next));
                    (ADVANCED, stamped(Release { ramp, ..release.clone() }, why))
                }
                None => (PROMOTED, stamped(release.clone().with_current(version.clone()), why)),
            })
        }
        Verdict::Pass(_) | Verdict::Inconclusive(_) => None,
    }
}

fn on_record(subject: &Subject, judged: &Release, (decision, next): (&str, &Release)) -> Fact {
    let verb = match decision {
        PROMOTED => "rollout-promoted",
        ADVANCED => "rollout-advanced",
        _ => "rollout-rolled-back",
    };
    let version = judged.rollout().map_or_else(String::new, |(version, _)| format!("@{version}"));
    let name = format!("{}{version}", subject.name);
    Fact {
        component: "registry",
        verb,
        who: AuditWho { principal: next.by.clone(), ..AuditWho::default() },
        what: AuditWhat { kind: kind_name(subject.kind).to_lowercase(), name, ..AuditWhat::default() },
        policy: String::new(),
        code: None,
        reason: next.why.clone(),
    }
}

/// What a gauge is of.
type Shown = (Subject, Version);

/// Shows the share of each version that is brought in; what is not any more is at 0.
fn show<'r>(shown: &mut BTreeSet<Shown>, releases: impl Iterator<Item = (&'r Subject, &'r Release)>) {
    let gauge = |(subject, version): &Shown| {
        RELEASE_RAMPING.gauge(&[kind_name(subject.kind), &subject.name, &version.to_string()])
    };
    let mut now = BTreeSet::new();
    for (subject, ramp) in releases.filter_map(|(subject, release)| Some((subject, release.ramp.as_ref()?))) {
        let key = (subject.clone(), ramp.version.clone());
        gauge(&key).set(ramp.share.as_percent() / 100.0);
        now.insert(key);
    }
    shown.difference(&now).for_each(|gone| gauge(gone).set(0.0));
    *shown = now;
}

#[cfg(test)]
mod tests {
    use kapelle_bus::registry::{Limits, Share, Stage};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn release() -> Release {
        let stage = |share: f64| Stage { share: Share::percent(share).unwrap(), pause_ms: Some(60_000) };
        let error_rate = Share::percent(5.0).unwrap();
        let limits = Limits { seen_min: 20, error_rate, latency: None, cost: None };
        let rollout = Rollout::begin(vec![stage(10.0), stage(50.0)], limits, at(0)).unwrap();
        Release {
            current: "1.0.0".parse().unwrap(),
            ramp: Some(Ramp::by_itself("2.0.0".parse().unwrap(), rollout)),
            before: Vec::new(),
            by: Principal("ada".into()),
            at: at(0),
            why: String::new(),
        }
    }

    fn standing(verdict: Verdict) -> Standing {
        Standing { candidate: Tally::default(), current: Tally::default(), verdict }
    }

    #[test]
    fn a_version_goes_from_stage_to_stage_and_becomes_current() {
        let pass = standing(Verdict::Pass("all well".into()));
        let first = release();
        assert_eq!(decided(&first, &pass, at(59)), None, "its pause is not over");
        let (decision, second) = decided(&first, &pass, at(60)).unwrap();
        let (_, rollout) = second.rollout().unwrap();
        assert_eq!((decision, rollout.stage, rollout.since), (ADVANCED, 1, at(60)));
        assert_eq!((second.ramp.as_ref().map(|it| it.share), second.by.0.as_str()), (Share::percent(50.0), TENDER));
        assert_eq!(second.why, "2.0.0 passed 10 %: all well");
        assert_eq!(decided(&second, &pass, at(119)), None);
        let (decision, last) = decided(&second, &pass, at(120)).unwrap();
        assert_eq!((decision, last.current.to_string(), &last.ramp), (PROMOTED, "2.0.0".to_owned(), &None));
        assert_eq!(last.before, ["1.0.0".parse().unwrap()]);
        assert_eq!(decided(&last, &pass, at(999)), None);
    }

    #[test]
    fn what_fails_is_out_at_once_and_what_is_open_stays() {
        let fail = standing(Verdict::Fail("4 of 10 failed".into()));
        let (decision, back) = decided(&release(), &fail, at(1)).unwrap();
        assert_eq!((decision, &back.ramp, back.current.to_string()), (ROLLED_BACK, &None, "1.0.0".to_owned()));
        assert_eq!(back.why, "2.0.0 was rolled back at 10 %: 4 of 10 failed");
        let open = standing(Verdict::Inconclusive("3 of 20 seen".into()));
        assert_eq!(decided(&release(), &open, at(9_999)), None);
        let hold = |release: Release| {
            let ramp = release.ramp.clone().map(|ramp| {
                let rollout = ramp.rollout.as_ref().and_then(|it| it.pause()).map(Box::new);
                Ramp { rollout, ..ramp }
            });
            Release { ramp, ..release }
        };
        assert_eq!(decided(&hold(release()), &standing(Verdict::Pass(String::new())), at(9_999)), None);
        assert!(decided(&hold(release()), &fail, at(1)).is_some(), "who pauses it does not keep what fails");
    }
}
