//! Ending a run, or halting it: the outcome, and the commands that take back what is still asked for.

use kapelle_types::Payload;

use crate::closing;
use crate::command::{Command, ReportOutcome, TimerId};
use crate::entry::{Failure, RunFinished};
use crate::plan::{ActorIndex, OnGiveUp, StepIndex};
use crate::state::{Halt, Place, Run, RunStatus, Slot, SlotState, StepState};
use crate::turn::Turn;
use crate::weight::payload_bytes;

impl Turn<'_> {
    /// It is decided how the run ends: at once, or after its last steps.
    pub(crate) fn finish(&mut self, status: RunStatus, output: Option<Payload>, error: Option<Failure>) {
        if closing::is_needed(self.run, status) {
            self.close(status, output, error);
        } else {
            self.decide(status, output, error);
        }
    }

    /// Decides the outcome. What is in flight is withdrawn, timers are cancelled, dead letters removed; the entry that
    /// is applied is the one that decided.
    pub(crate) fn decide(&mut self, status: RunStatus, output: Option<Payload>, error: Option<Failure>) {
        let terminate = status == RunStatus::Terminated;
        // Closing has cancelled the runs of the work; they may be closing themselves, and that ends now as well.
        let still = |step| !self.run.is_off(step) || (terminate && self.run.runs_another(step));
        withdraw(self.run, terminate, still, &mut self.commands);
        remove_dead_letters(self.run, &mut self.commands);
        if self.run.closing.is_some() {
            self.commands.push(Command::CancelTimer { timer: TimerId::Closing });
        } else {
            cancel_deadline(self.run, status, &mut self.commands);
        }
        self.run.heap_bytes += output.as_ref().map_or(0, payload_bytes);
        let outcome =
            RunFinished { status, output, error, decided_seq: self.stamp.seq, continued_as: self.run.continued_as() };
        self.run.outcome = Some(Box::new(outcome.clone()));
        self.forget_pending();
        self.commands.extend(report_outcome(self.run, &outcome));
        self.commands.push(Command::FinishRun(Box::new(outcome)));
    }

    /// Lets a run accept nothing but its end. What is in flight is withdrawn; dead letters stay for people to see.
    pub(crate) fn halt(&mut self, halt: Halt) {
        withdraw(self.run, false, |_| true, &mut self.commands);
        self.run.halt = Some(halt);
        self.forget_pending();
    }

    /// The slots keep their states, so that `outstanding` can say again what has to be taken back; nothing else counts
    /// them any more.
    pub(crate) fn forget_pending(&mut self) {
        self.run.in_flight = 0;
        self.run.timers.clear();
        self.run.awaiting.clear();
    }
}

/// Tells the attempt that waits for this run how it ended, unless another goes on in its place: then that one will.
pub(crate) fn report_outcome(run: &Run, outcome: &RunFinished) -> Option<Command> {
    if outcome.continued_as.is_some() {
        return None;
    }
    let parent = run.parent().filter(|parent| parent.awaited)?.clone();
    Some(Command::ReportOutcome(Box::new(ReportOutcome { parent, outcome: outcome.clone() })))
}

/// Takes back queued attempts of these steps, runs that they wait for, and timers. Those runs are terminated if this one is.
pub(crate) fn withdraw(run: &Run, terminate: bool, of: impl Fn(StepIndex) -> bool, commands: &mut Vec<Command>) {
    each_slot(run, |place, slot| match &slot.state {
        _ if !of(place.step) => {}
        SlotState::InFlight => {
            let task = place.task(&run.plan, slot.attempt);
            commands.extend(task.and_then(|task| Command::withdraw(run, place, task, terminate)));
        }
        SlotState::Awaiting(Some(_)) => commands.extend(
            place.task(&run.plan, slot.attempt).map(|task| Command::CancelTimer { timer: TimerId::Wake(task) }),
        ),
        SlotState::Retrying(_) => commands.extend(
            place
                .task(&run.plan, slot.attempt.saturating_add(1))
                .map(|task| Command::CancelTimer { timer: TimerId::Retry(task) }),
        ),
        SlotState::Awaiting(None) | SlotState::Due | SlotState::GaveUp(_) | SlotState::Broken(_) | SlotState::Done => {}
    });
}

/// Ends the runs again that a join did not wait for: nothing else remembers them.
pub(crate) fn stop_abandoned(run: &Run, commands: &mut Vec<Command>) {
    for (index, step) in run.steps.iter().enumerate() {
        let StepState::Abandoned { below, .. } = &step.state else { continue };
        commands.extend(below.iter().filter_map(|(item, attempt)| {
            let place = Place { step: index, item: *item };
            Command::withdraw(run, place, place.task(&run.plan, *attempt)?, false)
        }));
    }
}

/// Removes the dead letters of a run that ended; a step that fails its run when it gives up never had one.
pub(crate) fn remove_dead_letters(run: &Run, commands: &mut Vec<Command>) {
    let gave_up = |place: &&Place| run.slot(**place).is_some_and(|slot| matches!(slot.state, SlotState::GaveUp(_)));
    commands.extend(run.stuck.iter().filter(gave_up).filter_map(|place| remove_dead_letter(run, *place)));
}

/// Removes the dead letters of what was retried or succeeded after all.
pub(crate) fn remove_revived(run: &Run, commands: &mut Vec<Command>) {
    commands.extend(run.revived.iter().filter_map(|(place, actor)| remove_letter_of(run, *place, *actor)));
}

/// Removes one dead letter.
pub(crate) fn remove_dead_letter(run: &Run, place: Place) -> Option<Command> {
    remove_letter_of(run, place, run.actor(place))
}

/// Removes the dead letter that this one left.
fn remove_letter_of(run: &Run, place: Place, actor: ActorIndex) -> Option<Command> {
    let planned = run.plan.steps.get(place.step).filter(|s| s.on_give_up == OnGiveUp::Stall)?;
    Some(Command::RemoveDeadLetter { step: place.name(&run.plan)?, agent: planned.by(actor).version()?.clone() })
}

/// Cancels the deadline timer, unless it is what ended the run.
pub(crate) fn cancel_deadline(run: &Run, status: RunStatus, commands: &mut Vec<Command>) {
    if run.plan.deadline.is_some() && status != RunStatus::TimedOut {
        commands.push(Command::CancelTimer { timer: TimerId::Deadline });
    }
}

/// Walks the slots of all steps that have started and not ended.
pub(crate) fn each_slot(run: &Run, mut visit: impl FnMut(Place, &Slot)) {
    for step in &run.active {
        #[cfg(test)]
        crate::cost::count(1);
        match run.state(*step) {
            Some(StepState::Single(slot)) => visit(Place::whole(*step), slot),
            Some(StepState::FanOut(fan)) => {
                for (item, slot) in (0..).zip(&fan.members) {
                    #[cfg(test)]
                    crate::cost::count(1);
                    visit(Place::member(*step, item), slot);
                }
            }
            _ => {}
        }
    }
}
