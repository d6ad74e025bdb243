//! What the log means, independently of every coordinator: each record is folded the moment it is stored, and judged.
//!
//! The fold uses the real `apply`, so that coordinators can be compared with it. Whether `apply` itself is right is judged
//! by [`super::slots`], which counts by rules of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kapelle_engine::{
    Body, Channel, Command, Decision, DispatchTask, Entry, Record, Run, StartRun, TimerId, apply, invariant,
    outstanding,
};
use kapelle_types::{RunId, StepRef, TaskId, Timestamp};
use serde_json::Value;

use super::slots::{Slots, Wrong};
use super::world::World;

/// All runs as the log has them.
#[derive(Default)]
pub(crate) struct Oracle {
    folds: BTreeMap<RunId, Fold>,
    /// What each sequence asked for.
    asked: HashMap<u64, (RunId, Vec<Identity>)>,
    /// Submissions that a client was told are recorded.
    acked: BTreeSet<RunId>,
    /// Up to here no cursor passed anything that was not performed.
    verified: u64,
}

/// One run.
pub(crate) struct Fold {
    pub(crate) run: Run,
    pub(crate) slots: Slots,
    /// What it was given.
    pub(crate) input: Value,
    /// Every attempt that the log justified.
    pub(crate) dispatched: BTreeMap<TaskId, DispatchTask>,
    /// Every run that the log wanted begun.
    pub(crate) started: BTreeMap<TaskId, StartRun>,
    /// A coordinator was told that its plan cannot be built, and passed entries by.
    pub(crate) unplanned: bool,
}

/// What makes two commands the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    Dispatch(TaskId),
    Timer(TimerId),
    DeadLetter(TaskId),
    Finish,
    /// Telling the run above how it ended.
    Tell,
    /// Looking again whether those who agreed by that entry still may.
    Check(StepRef, u64),
}

impl Identity {
    /// Of a command that something waits for; the others only tidy up.
    pub(crate) fn of(command: &Command) -> Option<Self> {
        match command {
            Command::DispatchTask(task) => Some(Self::Dispatch(task.task.clone())),
            Command::EmitEvent(event) => Some(Self::Dispatch(event.task.clone())),
            Command::StartRun(start) => Some(Self::Dispatch(start.parent.task.clone())),
            Command::StartTimer { timer, .. } => Some(Self::Timer(timer.clone())),
            Command::WriteDeadLetter(letter) => Some(Self::DeadLetter(letter.task.clone())),
            Command::FinishRun(_) => Some(Self::Finish),
            Command::ReportOutcome(_) => Some(Self::Tell),
            Command::CheckApproval(check) => Some(Self::Check(check.step.clone(), check.agreed)),
            Command::WithdrawTask { .. }
            | Command::StopRun(_)
            | Command::CancelTimer { .. }
            | Command::RemoveDeadLetter { .. } => None,
        }
    }
}

impl Oracle {
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.folds.values().map(|fold| &fold.run)
    }

    pub(crate) fn folds(&self) -> impl Iterator<Item = (&RunId, &Fold)> {
        self.folds.iter()
    }

    pub(crate) const fn all(&self) -> &BTreeMap<RunId, Fold> {
        &self.folds
    }

    pub(crate) fn get(&self, run: RunId) -> Option<&Fold> {
        self.folds.get(&run)
    }

    pub(crate) fn unplanned(&mut self, run: RunId) {
        if let Some(fold) = self.folds.get_mut(&run) {
            fold.unplanned = true;
        }
    }

    /// A client was told that its job is recorded.
    pub(crate) fn acknowledged(&mut self, run: RunId) {
        self.acked.insert(run);
    }

    pub(crate) fn acked(&self) -> impl Iterator<Item = &RunId> {
        self.acked.iter()
    }

    /// An attempt of a step that nobody dispatched yet.
    pub(crate) fn never_dispatched(&self, run: RunId, step: StepRef, above: u32) -> TaskId {
        let highest = self.folds.get(&run).map_or(0, |fold| fold.slots.attempts(&step));
        TaskId { step, attempt: highest + above }
    }

    /// What the entries up to a cursor asked for, what still waits for it, and what nobody ever did about it.
    fn neglected(
        &mut self,
        cursor: u64,
        now: Timestamp,
        performed: &dyn Fn(RunId, &Identity) -> bool,
    ) -> Option<String> {
        while self.verified < cursor {
            self.verified += 1;
            let Some((run, asked)) = self.asked.remove(&self.verified) else { continue };
            let Some(fold) = self.folds.get(&run).filter(|fold| !fold.unplanned) else { continue };
            let open: Vec<_> = asked.into_iter().filter(|identity| !performed(run, identity)).collect();
            if open.is_empty() {
                continue;
            }
            let waits: Vec<_> = outstanding(&fold.run, now).iter().filter_map(Identity::of).collect();
            if let Some(lost) = open.iter().find(|identity| waits.contains(identity)) {
                return Some(format!("{run} waits for {lost:?}, asked for at {}, cursor {cursor}", self.verified));
            }
        }
        None
    }
}

impl Fold {
    pub(crate) fn new(run: Run, input: Value) -> Self {
        let (slots, dispatched, started) = (Slots::new(run.plan()), BTreeMap::new(), BTreeMap::new());
        Self { run, slots, input, dispatched, started, unplanned: false }
    }

    /// Takes an entry of the run's log, and judges what follows from it.
    pub(crate) fn take(&mut self, entry: &Entry, record: &Record) -> (Decision, Result<(), Wrong>) {
        let decision = apply(&mut self.run, entry, record.channel, record.stamp);
        for command in &decision.commands {
            match command {
                Command::DispatchTask(task) => drop(self.dispatched.insert(task.task.clone(), (**task).clone())),
                Command::StartRun(start) => drop(self.started.insert(start.parent.task.clone(), (**start).clone())),
                _ => {}
            }
        }
        let judged = invariant::check(&self.run).map_err(|violation| (violation.name, violation.detail));
        let on_report = record.channel == Channel::Report;
        let judged = judged.and_then(|()| self.slots.judge(&self.run, entry, on_report, record.stamp, &decision));
        (decision, judged)
    }
}

impl World {
    /// Folds a record that was just stored, and judges it.
    pub(crate) fn judge(&mut self, id: RunId, record: &Record) {
        for entry in &record.entries {
            if !self.oracle.folds.contains_key(&id) && !self.first(id, entry, record.channel) {
                continue;
            }
            self.judge_entry(id, entry, record);
        }
    }

    /// A run begins with its submission; everything before it is no run's.
    fn first(&mut self, id: RunId, entry: &Entry, channel: Channel) -> bool {
        let Some(job) = self.jobs.get(id) else { return false };
        let begins = channel == Channel::Control && matches!(entry.body, Body::RunSubmitted(_));
        if begins {
            self.oracle.folds.insert(id, Fold::new(job.run(id), job.input.clone()));
        }
        begins
    }

    fn judge_entry(&mut self, id: RunId, entry: &Entry, record: &Record) {
        let Some(fold) = self.oracle.folds.get_mut(&id) else { return };
        if let Body::RunFinished(mark) = &entry.body {
            let (holds, outcome) = (fold.run.outcome() == Some(mark), format!("{:?}", fold.run.outcome()));
            if !holds {
                let found = format!("{id}: marked {mark:?}, decided {outcome}");
                return self.fail("every_mark_says_what_was_decided", || found);
            }
        }
        let before = fold.run.is_finished();
        let (decision, judged) = fold.take(entry, record);
        let asked = decision.commands.iter().filter_map(Identity::of);
        self.oracle.asked.entry(record.stamp.seq).or_insert((id, Vec::new())).1.extend(asked);
        let ended = !before && fold.run.is_finished();
        if let Err((name, detail)) = judged {
            return self.fail(name, || format!("{id} at {}: {detail}", record.stamp.seq));
        }
        if decision.ignored.is_none() {
            self.check_told(id, &entry.body);
        }
        if ended {
            self.check_outcome(id);
        }
    }

    /// What a coordinator wants queued must be what the log justified, to the letter.
    pub(crate) fn check_dispatch(&mut self, run: RunId, task: &DispatchTask) {
        let justified = self.oracle.get(run).and_then(|fold| fold.dispatched.get(&task.task)) == Some(task);
        self.hold("only_justified_attempts_are_queued", justified, || format!("{run} {task:?}"));
    }

    /// A cursor never passes an entry whose commands are not performed, unless nothing waits for them any more.
    pub(crate) fn check_cursor(&mut self, cursor: u64) {
        let performed = &self.performed;
        let now = super::world::at(self.now);
        let neglected =
            self.oracle.neglected(cursor, now, &|run, identity| performed.contains(&(run, identity.clone())));
        if let Some(found) = neglected {
            self.fail("the_cursor_passes_only_what_is_performed", || found);
        }
    }
}
