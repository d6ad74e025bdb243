//! How well people decide, from what is on record: the runs' logs say what was asked, decided and came of it, the audit trail who
//! looked. Nothing of it is kept; it is read when somebody asks, within bounds.
//!
//! A **rubber stamp** is a yes of somebody who had not opened what they agreed to, or had for less than [`QUICK`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use kapelle_bus::audit::From;
use kapelle_bus::{Bus, Error};
use kapelle_engine::{ApprovalDecided, Body, Verdict, apply};
use kapelle_proto::{decode_record, v1};
use kapelle_types::{RunId, StepRef, TaskId, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::ending::{Ending, made_of};
use crate::identity::spelled;
use crate::plans::PlanStore;
use crate::runs::{Rebuilt, rebuild};

/// How long somebody who reads what they agree to takes at least.
const QUICK: Duration = Duration::from_secs(10);
/// Records that one answer reads, over all partitions, to find the runs in which something was decided.
const RECORDS_MAX: u64 = 300_000;
/// Runs that one answer rebuilds: those in which something was decided last.
const RUNS_MAX: usize = 2_000;
/// Records of the audit trail that one answer reads.
const OPENED_MAX: usize = 100_000;
/// How long one answer reads.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers that a coordinator makes at once: the broker reads for running work too.
static READING: Semaphore = Semaphore::const_new(1);

/// A question to people, with what became of it.
#[derive(Debug, Clone, PartialEq)]
struct Case {
    step: StepRef,
    asked_at: Timestamp,
    ended: Option<(Ending, Timestamp)>,
    decisions: Vec<Decision>,
    /// What its run had cost when it was asked.
    cost_usd: f64,
    /// Whether the step succeeded after it was agreed to; `None` if no agent reported.
    succeeded: Option<bool>,
}

/// What one person said.
#[derive(Debug, Clone, PartialEq)]
struct Decision {
    person: String,
    at: Timestamp,
    agrees: bool,
}

/// When persons opened what they were asked, by the run and step.
#[derive(Debug, Default)]
struct Opened(HashMap<(String, String), Vec<(String, Timestamp)>>);

/// Reads what was asked and decided since a moment, of one workflow or of all. `held` are runs that wait for people now: of those
/// nothing may be on record yet.
///
/// # Errors
/// The broker stopped answering.
pub(crate) async fn quality(
    bus: &Bus,
    plans: &PlanStore,
    (workflow, since): (&str, Timestamp),
    held: Vec<RunId>,
) -> Result<v1::ApprovalStats, Error> {
    let _turn = READING.acquire().await.map_err(|e| Error::Unavailable(e.to_string()))?;
    let until = Instant::now() + PATIENCE;
    let (mut runs, mut complete) = decided_in(bus, since, until).await?;
    let known: BTreeSet<RunId> = runs.iter().copied().collect();
    runs.splice(0..0, held.into_iter().filter(|run| !known.contains(run)));
    let (opened, all) = Opened::read(bus, since).await?;
    complete &= all && runs.len() <= RUNS_MAX;
    let mut sums = Sums::default();
    for run in runs.into_iter().take(RUNS_MAX) {
        if Instant::now() >= until {
            complete = false;
            break;
        }
        // A run that cannot be read any more is no reason to say nothing of the others.
        let Ok(rebuilt) = rebuild(bus, plans, run).await else { continue };
        if !workflow.is_empty() && rebuilt.run.plan().workflow.name.as_str() != workflow {
            continue;
        }
        for case in cases(&rebuilt).into_iter().filter(|it| it.asked_at >= since) {
            sums.take(run, &case, &opened);
        }
    }
    Ok(sums.answer(since, complete))
}

/// The runs in which something was decided or a time was over, the latest first, and whether these are all.
async fn decided_in(bus: &Bus, since: Timestamp, until: Instant) -> Result<(Vec<RunId>, bool), Error> {
    let share = RECORDS_MAX / u64::from(bus.partitions().count()).max(1);
    let (mut last, mut complete) = (BTreeMap::new(), true);
    for partition in bus.partitions().all() {
        let window = bus.read_window(partition, since, share, |raw| {
            // What cannot be read was passed over, and counted, by whoever drives the run.
            let record = decode_record(raw.channel, raw.stamp, &raw.payload);
            let entries = record.map(|it| it.entries).unwrap_or_default();
            let about = |body: &Body| {
                matches!(body, Body::ApprovalDecided(_) | Body::ApprovalChecked(_) | Body::TimerFired { .. })
            };
            if entries.iter().any(|entry| about(&entry.body)) {
                last.insert(raw.run, raw.stamp.at);
            }
            Instant::now() < until
        });
        let window = window.await?;
        complete &= !window.stopped && !window.cut;
    }
    let mut runs: Vec<(Timestamp, RunId)> = last.into_iter().map(|(run, at)| (at, run)).collect();
    runs.sort_unstable_by(|a, b| b.cmp(a));
    Ok((runs.into_iter().map(|(_, run)| run).collect(), complete))
}

/// Everything that people were asked in a run.
fn cases(rebuilt: &Rebuilt) -> Vec<Case> {
    let mut run = rebuilt.run.before_its_log();
    let (mut open, mut ended): (BTreeMap<StepRef, Case>, Vec<Case>) = (BTreeMap::new(), Vec::new());
    let mut costs: BTreeMap<TaskId, f64> = BTreeMap::new();
    for record in &rebuilt.records {
        let at = record.stamp.at;
        for entry in &record.entries {
            match &entry.body {
                Body::ApprovalDecided(decided) if run.would_ignore(decided, at).is_none() => {
                    open.entry(decided.step.clone()).and_modify(|case| case.said(decided, at));
                }
                Body::StepSucceeded(it) => report(&mut costs, &mut ended, &it.task, it.usage.cost_usd, true),
                Body::StepFailed(it) => report(&mut costs, &mut ended, &it.task, it.usage.cost_usd, false),
                _ => {}
            }
            let _ = apply(&mut run, entry, record.channel, record.stamp);
            let asked: BTreeMap<StepRef, Timestamp> = run.questions().collect();
            let over = |(step, case): &(&StepRef, &mut Case)| asked.get(*step) != Some(&case.asked_at);
            let over: BTreeSet<StepRef> = open.iter_mut().filter(over).map(|(step, _)| step.clone()).collect();
            for case in over.iter().filter_map(|step| open.remove(step)) {
                let how = made_of(entry, &case.step, Vec::new());
                ended.push(Case { ended: Some((how, at)), ..case });
            }
            for (step, asked_at) in asked {
                let cost_usd = costs.values().filter(|it| it.is_finite()).sum();
                let case = |step| Case { step, asked_at, ended: None, decisions: vec![], cost_usd, succeeded: None };
                open.entry(step).or_insert_with_key(|step| case(step.clone()));
            }
        }
    }
    ended.extend(open.into_values());
    ended
}

/// What a worker says: what it cost, and whether what was agreed to went well.
fn report(costs: &mut BTreeMap<TaskId, f64>, ended: &mut [Case], task: &TaskId, cost_usd: f64, succeeded: bool) {
    let known = costs.entry(task.clone()).or_default();
    *known = known.max(cost_usd);
    let agreed = |case: &&mut Case| case.step == task.step && matches!(case.ended, Some((Ending::Approved { .. }, _)));
    // The last one: what was asked anew after a failure is judged by what came after that.
    if let Some(case) = ended.iter_mut().rev().find(agreed) {
        case.succeeded = Some(succeeded);
    }
}

impl Case {
    fn said(&mut self, decided: &ApprovalDecided, at: Timestamp) {
        let person = decided.by.person.clone();
        match decided.verdict {
            Verdict::Undo => self.decisions.retain(|it| it.person != person),
            Verdict::Reject => self.decisions.push(Decision { person, at, agrees: false }),
            Verdict::Approve | Verdict::Edit(_) | Verdict::Override => {
                self.decisions.push(Decision { person, at, agrees: true });
            }
        }
    }
}

impl Opened {
    async fn read(bus: &Bus, since: Timestamp) -> Result<(Self, bool), Error> {
        let word = |text: &str| text.parse().map_err(|e: kapelle_types::InvalidName| Error::Unreadable(e.to_string()));
        let (component, verb) = (word("api")?, word("open")?);
        let (mut opened, mut from, mut seen) = (Self::default(), From::Time(since), 0);
        loop {
            let read = bus.read_audit(from, Some(&component), Some(&verb)).await?;
            seen += read.records.len();
            for record in read.records.into_iter().filter_map(|(_, _, record)| record) {
                let Some(person) = &record.who.person else { continue };
                let place = (record.what.run.clone(), record.what.step.clone());
                opened.0.entry(place).or_default().push((spelled(person), record.at));
            }
            match read.next {
                None => return Ok((opened, true)),
                Some(_) if seen >= OPENED_MAX => return Ok((opened, false)),
                Some(next) => from = From::Seq(next),
            }
        }
    }

    /// When these were opened at a step, by whom.
    fn at(&self, run: RunId, step: &StepRef) -> &[(String, Timestamp)] {
        self.0.get(&(run.to_string(), step.to_string())).map_or(&[], Vec::as_slice)
    }
}

/// What adds up.
#[derive(Debug, Default)]
struct Sums {
    stats: v1::ApprovalStats,
    decided_seconds: Vec<f64>,
    opened_seconds: Vec<f64>,
}

impl Sums {
    fn take(&mut self, run: RunId, case: &Case, opened: &Opened) {
        let stats = &mut self.stats;
        stats.asked += 1;
        let opened = opened.at(run, &case.step);
        let first = opened.iter().map(|(_, at)| *at).filter(|at| *at >= case.asked_at).min();
        self.opened_seconds.extend(first.map(|at| at.since(case.asked_at).as_secs_f64()));
        stats.blocked_cost_usd += case.cost_usd;
        if let Some((_, at)) = &case.ended {
            stats.blocked_seconds += at.since(case.asked_at).as_secs_f64();
        }
        match case.ended.as_ref().map(|(how, _)| how) {
            None => stats.open += 1,
            Some(Ending::Approved { .. }) => stats.approved += 1,
            Some(Ending::Rejected { .. }) => stats.rejected += 1,
            Some(Ending::Expired) => stats.expired += 1,
            Some(Ending::Withdrawn) => stats.withdrawn += 1,
        }
        if let Some((Ending::Approved { .. } | Ending::Rejected { .. }, _)) = &case.ended {
            let last = case.decisions.last().map_or(case.asked_at, |it| it.at);
            self.decided_seconds.push(last.since(case.asked_at).as_secs_f64());
        }
        match case.succeeded {
            Some(true) => stats.succeeded_after += 1,
            Some(false) => stats.failed_after += 1,
            None => {}
        }
        for said in &case.decisions {
            let looked = opened.iter().filter(|(person, at)| *person == said.person && *at <= said.at);
            let looked = looked.map(|(_, at)| said.at.since(*at)).max();
            stats.decisions += 1;
            stats.unopened += u64::from(looked.is_none());
            stats.rubber_stamps += u64::from(said.agrees && looked.is_none_or(|it| it < QUICK));
        }
    }

    fn answer(mut self, since: Timestamp, complete: bool) -> v1::ApprovalStats {
        let (decide_p50_seconds, decide_p95_seconds) = percentiles(&mut self.decided_seconds);
        let (open_p50_seconds, open_p95_seconds) = percentiles(&mut self.opened_seconds);
        v1::ApprovalStats {
            decide_p50_seconds,
            decide_p95_seconds,
            open_p50_seconds,
            open_p95_seconds,
            from_unix_nanos: since.nanos(),
            complete,
            ..self.stats
        }
    }
}

/// The value that half of them do not exceed, and the one that all but a twentieth do not; zero of none.
fn percentiles(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let place = (values.len() * percent).div_ceil(100).saturating_sub(1);
        values.get(place).copied().unwrap_or_default()
    };
    (at(50), at(95))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        assert_eq!(percentiles(&mut []), (0.0, 0.0));
        assert_eq!(percentiles(&mut [3.0]), (3.0, 3.0));
        let mut all: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentiles(&mut all), (50.0, 95.0));
    }

    #[test]
    fn who_did_not_look_or_hardly_did_stamped() {
        let at = Timestamp::from_millis;
        let run = RunId::keyed("default", &"w".parse().unwrap(), "1");
        let step: StepRef = "pay".parse().unwrap();
        let said = |person: &str, ms, agrees| Decision { person: person.into(), at: at(ms), agrees };
        let case = Case {
            step: step.clone(),
            asked_at: at(1_000),
            ended: Some((Ending::Approved { by: vec![], agreed: 7 }, at(62_000))),
            decisions: vec![said("ada", 61_000, true), said("bob", 5_000, true), said("cyd", 61_000, true)],
            cost_usd: 0.5,
            succeeded: Some(false),
        };
        let mut opened = Opened::default();
        let looked = vec![("ada".to_owned(), at(2_000)), ("bob".to_owned(), at(3_000)), ("dee".to_owned(), at(900))];
        opened.0.insert((run.to_string(), step.to_string()), looked);
        let mut sums = Sums::default();
        sums.take(run, &case, &opened);
        sums.take(run, &Case { ended: None, decisions: vec![], succeeded: None, ..case }, &opened);
        let stats = sums.answer(at(0), true);
        assert_eq!((stats.asked, stats.approved, stats.open), (2, 1, 1));
        assert_eq!((stats.decisions, stats.unopened, stats.rubber_stamps), (3, 1, 2), "{stats:?}");
        assert_eq!((stats.failed_after, stats.succeeded_after), (1, 0));
        assert!((stats.blocked_seconds - 61.0).abs() < 0.001 && (stats.open_p50_seconds - 1.0).abs() < 0.001);
    }
}
