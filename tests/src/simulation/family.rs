//! Runs that runs begin, as coordinators see to them: begun once whoever asks how often, ended with whom they are for, and
//! reported on. And what must hold between a run and those below it.

use std::collections::BTreeMap;

use kapelle_engine::{
    Act, Body, Bond, Channel, Entry, Failure, FailureKind, Parent, ReportOutcome, RunFinished, RunStatus, StartRun,
    StepFailed, StepSucceeded, StopRun, Usage, Work,
};
use kapelle_types::{RunId, TaskId};
use serde_json::{Value, json};

use super::agents::key;
use super::client::entry;
use super::log::Stored;
use super::oracle::Fold;
use super::world::World;

impl World {
    /// Begins a run, or finds it. False if whoever does it dies half-way: it is asked for again.
    pub(crate) fn start_run(&mut self, start: &StartRun) -> bool {
        self.check_wish(start);
        let existed = !self.begin_run(start, None);
        if self.dice.hit(self.faults.ack_lost) {
            return false;
        }
        let parent = &start.parent;
        if !parent.awaited {
            self.tell(parent, Ok(begun(start.run)));
        } else if existed && let Some(outcome) = self.end_of(start.run).filter(|outcome| outcome.continued_as.is_none())
        {
            self.tell(parent, told(start.run, &outcome));
        }
        true
    }

    /// Ends a run, or records it as ended, so that whoever still begins it finds it so.
    pub(crate) fn stop_run(&mut self, stop: &StopRun) {
        self.check_wish(&stop.start);
        let how = if stop.terminate { "terminated" } else { "canceled" };
        let reason = "nobody waits for it".to_owned();
        let body = if stop.terminate { Body::TerminateRequested { reason } } else { Body::CancelRequested { reason } };
        let parent = &stop.start.parent;
        let wish = entry(format!("{}/{}/{how}", parent.run, parent.task), body);
        if self.begin_run(&stop.start, Some(wish.clone())) {
            return;
        }
        let mut run = stop.start.run;
        loop {
            let next = match self.last_said(run) {
                Some(last) if last.id == wish.id => return,
                Some(Entry { body: Body::RunFinished(outcome), .. }) => outcome.continued_as,
                Some(_) | None => return self.append(run, Channel::Control, vec![wish], false),
            };
            let Some(next) = next else { return };
            run = next;
        }
    }

    /// Tells the attempt that waits for a run how it ended.
    pub(crate) fn report_outcome(&mut self, run: RunId, report: &ReportOutcome) {
        self.tell(&report.parent, told(run, &report.outcome));
    }

    /// Records a run, if it is not there yet, together with its end if that is wished at once.
    fn begin_run(&mut self, start: &StartRun, ended_by: Option<Entry>) -> bool {
        if !self.log.is_new(start.run) {
            return false;
        }
        self.jobs.want(start);
        let Some(job) = self.jobs.get(start.run) else {
            self.fail("only_known_workflows_are_run", || format!("{start:?}"));
            return true;
        };
        let first = entry(String::new(), job.submission());
        self.append(start.run, Channel::Control, [first].into_iter().chain(ended_by).collect(), false);
        true
    }

    fn tell(&mut self, parent: &Parent, told: Result<Value, Failure>) {
        let (task, work, usage) = (parent.task.clone(), Work::default(), Usage::default());
        let token = Some(key(parent.run).token(&task));
        let body = match told {
            Ok(output) => Body::StepSucceeded(StepSucceeded { task, output: output.into(), work, usage, token }),
            Err(failure) => Body::StepFailed(StepFailed { task, failure, work, usage, token }),
        };
        self.append_report(parent.run, vec![entry(String::new(), body)]);
    }

    fn end_of(&self, run: RunId) -> Option<RunFinished> {
        match self.last_said(run)?.body {
            Body::RunFinished(outcome) => Some(*outcome),
            _ => None,
        }
    }

    /// The last entry of a run that is no worker's.
    fn last_said(&self, run: RunId) -> Option<Entry> {
        let controls = self.log.of(run).filter_map(Stored::record).filter(|record| record.channel == Channel::Control);
        controls.last().and_then(|record| record.entries.last().cloned())
    }

    /// A run is begun or ended only for an attempt that the log justified.
    fn check_wish(&mut self, start: &StartRun) {
        let parent = &start.parent;
        let justified = self.oracle.get(parent.run).and_then(|fold| fold.started.get(&parent.task));
        let right =
            justified.is_some_and(|it| (&it.run, &it.parent, &it.workflow) == (&start.run, parent, &start.workflow));
        self.hold("only_justified_runs_are_begun", right, || format!("{start:?}"));
    }

    /// What an attempt that waits for a run is told is how that run ended.
    pub(crate) fn check_told(&mut self, id: RunId, body: &Body) {
        let (task, output) = match body {
            Body::StepSucceeded(report) => (&report.task, Some(&report.output)),
            Body::StepFailed(report) => (&report.task, None),
            _ => return,
        };
        let Some(fold) = self.oracle.get(id) else { return };
        if bond(fold, task) != Some(Bond::Awaited) {
            return;
        }
        let right =
            chain(self.oracle.all(), RunId::of_attempt(id, task)).filter_map(|fold| fold.run.outcome()).any(|end| {
                match output {
                    _ if end.continued_as.is_some() => false,
                    Some(output) => gave(end) == output.value.as_deref(),
                    None => gave(end).is_none(),
                }
            });
        let found = format!("{id} {task}: {output:?}");
        self.hold("an_attempt_is_told_how_its_run_ended", right, || found);
    }

    /// A run, or the last of those that went on in its place.
    pub(crate) fn last_of(&self, mut run: RunId) -> Option<&Fold> {
        loop {
            let fold = self.oracle.get(run)?;
            match fold.run.outcome().and_then(|outcome| outcome.continued_as) {
                Some(next) => run = next,
                None => return Some(fold),
            }
        }
    }

    /// Attempts of a run that wait for runs which are not over.
    pub(crate) fn waits_below(&self, id: RunId) -> usize {
        let Some(fold) = self.oracle.get(id) else { return 0 };
        let open = |task: &TaskId| {
            bond(fold, task) == Some(Bond::Awaited)
                && self.last_of(RunId::of_attempt(id, task)).is_some_and(|below| !below.run.is_marked())
        };
        fold.slots.in_flight().filter(open).count()
    }

    /// What nobody waits for any more has ended, or is closing: whoever ends a run ends those below it.
    pub(crate) fn check_families(&mut self) {
        let left = self.oracle.folds().find_map(|(id, fold)| {
            let parent = self.jobs.get(*id)?.parent.as_ref().filter(|parent| parent.awaited)?;
            let above = self.oracle.get(parent.run).filter(|above| !above.unplanned)?;
            let waited_for = above.slots.in_flight().any(|task| task == parent.task);
            let over = fold.run.is_finished() || fold.run.closing().is_some();
            (!waited_for && !over)
                .then(|| format!("{id} {}, for {parent:?} ({})", fold.run.status(), above.run.status()))
        });
        self.hold("nobody_works_below_who_does_not_wait", left.is_none(), || left.unwrap_or_default());
    }
}

/// A run and all that went on in its place, one begun by the other; each of them may be the last.
fn chain(folds: &BTreeMap<RunId, Fold>, run: RunId) -> impl Iterator<Item = &Fold> {
    let next = |fold: &&Fold| {
        let next = fold.started.values().find(|start| start.continues.is_some());
        next.and_then(|start| folds.get(&start.run))
    };
    std::iter::successors(folds.get(&run), next)
}

/// Whether a run that one of these attempts began gives this: what the last run in its place gave, or its id.
pub(crate) fn gives_below(
    folds: &BTreeMap<RunId, Fold>,
    id: RunId,
    attempts: impl Iterator<Item = TaskId>,
    bond: Bond,
    got: &Value,
) -> bool {
    let mut runs = attempts.map(|task| RunId::of_attempt(id, &task));
    match bond {
        Bond::Continued => got.is_null(),
        Bond::Detached => runs.any(|run| *got == begun(run)),
        Bond::Awaited => runs.any(|run| chain(folds, run).any(|fold| fold.run.outcome().and_then(gave) == Some(got))),
    }
}

fn bond(fold: &Fold, task: &TaskId) -> Option<Bond> {
    let planned = fold.run.plan().steps.iter().find(|step| step.id == task.step.step)?;
    if let Act::Workflow(act) = &planned.act { Some(act.bond) } else { None }
}

/// What a run gave that was COMPLETED.
fn gave(end: &RunFinished) -> Option<&Value> {
    let output = end.output.as_ref().filter(|_| end.status == RunStatus::Completed);
    output.and_then(|output| output.value.as_deref())
}

/// What a step gives that waits for nothing.
fn begun(run: RunId) -> Value {
    json!({ "run_id": run.to_string() })
}

/// What the end of a run means for the attempt that waits for it. What somebody ended on purpose is not begun again.
fn told(run: RunId, outcome: &RunFinished) -> Result<Value, Failure> {
    if outcome.status == RunStatus::Completed {
        let output = outcome.output.as_ref().and_then(|output| output.value.as_deref().cloned());
        return Ok(output.unwrap_or_default());
    }
    Err(Failure {
        kind: FailureKind::Agent,
        code: "oops".into(),
        message: format!("run {run} ended {}", outcome.status),
        retryable: !matches!(outcome.status, RunStatus::Canceled | RunStatus::Terminated),
        retry_after: None,
        evidence: String::new(),
    })
}
