//! Closing: what a run does last, once it is decided how it is to end.
//!
//! ```text
//!   cancel, deadline, on_give_up: fail, fail requested, complete
//!        │ its steps have compensations, or its workflow has `on_failure` or `finally`
//!        ▼
//!   the work is over: withdrawn, timers cancelled, dead letters removed
//!        │ one step after another, each as any other: attempts, retries, a dead letter and STALLED if it gives up
//!        ▼
//!   compensations, the latest success first ──▶ on_failure ──▶ finally ──▶ the outcome
//!        └──── not if it is to be COMPLETED ────┘
//! ```
//!
//! A step that succeeds after all, since its worker was not to be stopped any more, is undone next. Closing is not paused,
//! cancelled or taken back; it ends at once if the run is terminated, failed while STALLED, or halted, or if it takes longer
//! than the plan allows.

use kapelle_types::{Code, Payload};

use crate::command::{Command, TimerId};
use crate::contract;
use crate::entry::{Failure, StepSucceeded};
use crate::finish::{cancel_deadline, remove_dead_letters, withdraw};
use crate::ignored::Ignored;
use crate::limits;
use crate::plan::{Phase, PlanStep, StepIndex};
use crate::state::{Closing, Place, Run, RunStatus, SlotState, Stage, StepState};
use crate::turn::Turn;

/// Whether a run that is to end like this has something to do before.
pub(crate) fn is_needed(run: &Run, status: RunStatus) -> bool {
    let terminated = status == RunStatus::Terminated;
    run.stage() == Stage::Open && run.closing.is_none() && !terminated && next(run, status).is_some()
}

/// The next step of a run that is to end like this.
fn next(run: &Run, status: RunStatus) -> Option<StepIndex> {
    let fails = status != RunStatus::Completed;
    if let Some(undo) = run.undo.last().filter(|_| fails) {
        return Some(*undo);
    }
    let wanted = |phase| phase == Phase::Finally || (phase == Phase::OnFailure && fails);
    let fresh = |step: &StepIndex| run.state(*step) == Some(&StepState::Waiting);
    let steps = run.plan.steps.iter().enumerate();
    steps.filter(|(_, planned)| wanted(planned.phase)).map(|(step, _)| step).find(fresh)
}

/// Whether what a step reports still counts as it would in any run.
pub(crate) fn leaves(run: &Run, step: StepIndex) -> Result<(), Ignored> {
    if run.is_off(step) { Err(Ignored::RunClosing) } else { Ok(()) }
}

impl Turn<'_> {
    /// It is decided how the run is to end; first come its last steps.
    pub(crate) fn close(&mut self, status: RunStatus, output: Option<Payload>, error: Option<Failure>) {
        withdraw(self.run, false, |_| true, &mut self.commands);
        remove_dead_letters(self.run, &mut self.commands);
        cancel_deadline(self.run, status, &mut self.commands);
        self.forget_pending();
        // What was stuck is over. The commands that remove dead letters may be lost.
        for place in std::mem::take(&mut self.run.stuck) {
            if self.run.slot(place).is_some_and(|slot| matches!(slot.state, SlotState::GaveUp(_))) {
                self.run.revived.insert((place, self.run.actor(place)));
            }
        }
        self.run.signals = None;
        self.run.paused = false;
        self.run.closing = Some(Box::new(Closing::new(status, output, error, self.stamp.at)));
        let due = self.run.deadline();
        self.commands.extend(due.map(|due| Command::StartTimer { timer: TimerId::Closing, due }));
    }

    /// Begins the next of the last steps when the one before has ended, or decides the outcome. True if a step began.
    pub(crate) fn close_further(&mut self) -> bool {
        let Some(closing) = &self.run.closing else { return false };
        let ended = |step| self.run.state(step).is_some_and(StepState::is_ended);
        if closing.current.is_some_and(|step| !ended(step)) {
            return false;
        }
        let next = next(self.run, closing.status);
        if next.is_some_and(|step| self.run.undo.last() == Some(&step)) {
            self.run.undo.pop();
        }
        let Some(closing) = &mut self.run.closing else { return false };
        closing.current = next;
        let Some(step) = next else {
            closing.done = true;
            let (status, output, error) = (closing.status, closing.output.take(), closing.error.clone());
            self.decide(status, output, error);
            return false;
        };
        self.ready(step);
        true
    }

    /// Closing took longer than it may. What was to be COMPLETED is FAILED: not everything was done.
    pub(crate) fn close_overdue(&mut self) {
        let Some(closing) = &self.run.closing else { return };
        let at = closing.current.and_then(|step| Place::whole(step).name(&self.run.plan));
        let at = at.map(|step| format!(", at step `{step}`")).unwrap_or_default();
        let cause = closing.error.as_ref().map(|it| format!("; it was to end because: {}: {}", it.code, it.message));
        let message = format!(
            "the run was not done with its last steps within {}{at}{}",
            kapelle_types::duration::format(self.run.plan.close_within),
            cause.unwrap_or_default()
        );
        let status = if closing.status == RunStatus::Completed { RunStatus::Failed } else { closing.status };
        self.decide(status, None, Some(Failure::of_run(Code::CLOSING_OVERDUE, message)));
    }

    /// A step of the work succeeded though the run is closing. If something undoes it that is done next.
    pub(crate) fn succeed_late(&mut self, place: Place, report: &StepSucceeded) -> Result<(), Ignored> {
        let rounds = self.run.plan.steps.get(place.step).is_some_and(PlanStep::has_rounds);
        let undone = place.item.is_none() && !rounds && self.run.plan.compensation(place.step).is_some();
        let beyond = limits::report(self.run, place, &report.output, &report.usage);
        if !undone || beyond.is_some() || contract::output(self.run, place, &report.output).is_some() {
            return Err(Ignored::RunClosing);
        }
        if let Some(closing) = &mut self.run.closing {
            closing.late.push(place.step);
        }
        // Nothing counts the slots of the work any more, so none is counted out.
        let attempt = self.run.edit_slot(place, |slot| {
            (slot.trouble, slot.rounds, slot.state) = (None, None, SlotState::Done);
            slot.attempt
        });
        self.end_single(place.step, report.output.clone(), attempt.unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
