//! A second opinion on how runs close: what is done last, in which order, and that no run ends without it. Counted from
//! commands and from what people see of steps, by rules of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use kapelle_engine::{Command, Phase, Plan, PlanStep, Run, RunFinished, RunStatus, StepStatus, TimerId};
use kapelle_types::{StepId, StepRef, Timestamp};

use super::slots::{Wrong, hold};

/// What a run does last.
pub(crate) struct Last {
    plan: Arc<Plan>,
    /// When it has to be done with it; known once it is closing.
    pub(crate) due: Option<Timestamp>,
    /// Steps that were seen to succeed, and last steps that were seen at all.
    seen: BTreeSet<StepId>,
    /// What succeeded and can be undone, a set for each entry, the latest last.
    undoable: Vec<BTreeSet<StepId>>,
}

impl Last {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        Self { plan: Arc::clone(plan), due: None, seen: BTreeSet::new(), undoable: Vec::new() }
    }

    /// Whether a report on this place says nothing any more that a run which closes wants to know.
    pub(crate) fn is_over(&self, step: &StepRef) -> bool {
        self.due.is_some() && self.is_work(&step.step)
    }

    /// Whether a late success would have something undone.
    pub(crate) fn is_undoable(&self, step: &StepRef) -> bool {
        step.item.is_none() && self.place(&step.step).is_some_and(|at| self.undo_of(at).is_some())
    }

    /// Judges what an entry led to.
    pub(crate) fn judge(&mut self, run: &Run, at: Timestamp, commands: &[Command]) -> Result<(), Wrong> {
        for command in commands {
            match command {
                Command::StartTimer { timer: TimerId::Closing, due } => {
                    let right = self.due.is_none_or(|known| known == *due)
                        && (self.due.is_some() || *due == at.plus(self.plan.close_within));
                    hold("closing_has_one_end", right, || due.to_string())?;
                    self.due = Some(*due);
                }
                Command::DispatchTask(task) => self.begun(&task.task.step)?,
                Command::EmitEvent(event) => self.begun(&event.task.step)?,
                _ => {}
            }
        }
        self.look(run)?;
        let finished = commands.iter().find_map(|command| match command {
            Command::FinishRun(outcome) => Some(&**outcome),
            _ => None,
        });
        finished.map_or(Ok(()), |outcome| self.finished(run, outcome))
    }

    fn begun(&self, step: &StepRef) -> Result<(), Wrong> {
        let right = self.is_work(&step.step) != self.due.is_some();
        hold("work_before_and_last_steps_after_it_is_decided_how_a_run_ends", right, || step.to_string())
    }

    /// What succeeded by this entry, and what is undone since: always what succeeded last. One entry may do several things.
    fn look(&mut self, run: &Run) -> Result<(), Wrong> {
        let (mut succeeded, mut undone) = (BTreeSet::new(), BTreeSet::new());
        let mut open = 0;
        for step in run.steps() {
            let Some(at) = self.place(step.id) else { continue };
            let ended = matches!(step.status, StepStatus::Succeeded | StepStatus::Skipped | StepStatus::GaveUp);
            match self.plan.steps[at].phase {
                Phase::Work if step.status == StepStatus::Succeeded && self.undo_of(at).is_some() => {
                    if self.seen.insert(step.id.clone()) {
                        succeeded.insert(step.id.clone());
                    }
                }
                Phase::Work => {}
                Phase::Compensation(of) => {
                    open += usize::from(!ended);
                    if self.seen.insert(step.id.clone()) {
                        undone.insert(self.plan.steps[of].id.clone());
                    }
                }
                Phase::OnFailure | Phase::Finally => open += usize::from(!ended),
            }
        }
        hold("last_steps_are_done_one_after_another", open <= 1, || format!("{open} at once"))?;
        self.undoable.push(succeeded);
        while let Some(mut latest) = self.undoable.pop() {
            latest.retain(|step| !undone.remove(step));
            if !latest.is_empty() {
                self.undoable.push(latest);
                break;
            }
        }
        hold("what_succeeded_last_is_undone_first", undone.is_empty(), || format!("{undone:?}"))
    }

    /// A run that ends by itself has done all that it was to do last.
    fn finished(&self, run: &Run, outcome: &RunFinished) -> Result<(), Wrong> {
        let code = outcome.error.as_ref().map_or("", |error| error.code.as_str());
        let by_hand = outcome.error.as_ref().is_some_and(|error| error.message.contains("; failed by"));
        if outcome.status == RunStatus::Terminated || code == "K0322" || (by_hand && self.due.is_some()) {
            return Ok(());
        }
        let fails = outcome.status != RunStatus::Completed;
        hold("what_succeeded_is_undone", !fails || self.undoable.is_empty(), || format!("{:?}", self.undoable))?;
        let shown: BTreeSet<&StepId> = run.steps().map(|step| step.id).collect();
        let wanted = |planned: &&PlanStep| match planned.phase {
            Phase::OnFailure => fails,
            Phase::Finally => true,
            Phase::Work | Phase::Compensation(_) => false,
        };
        let missing = self.plan.steps.iter().filter(wanted).find(|planned| !shown.contains(&planned.id));
        hold("no_run_ends_without_its_last_steps", missing.is_none(), || format!("{:?}", missing.map(|it| &it.id)))
    }

    fn place(&self, id: &StepId) -> Option<usize> {
        self.plan.steps.iter().position(|planned| planned.id == *id)
    }

    fn is_work(&self, id: &StepId) -> bool {
        self.place(id).is_some_and(|at| self.plan.steps[at].phase == Phase::Work)
    }

    fn undo_of(&self, step: usize) -> Option<&PlanStep> {
        self.plan.steps.iter().find(|planned| planned.phase == Phase::Compensation(step))
    }
}
