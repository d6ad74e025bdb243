//! `outstanding`: everything that a run still waits for, derived from its state alone. Performing it is harmless at any
//! time, and enough after any loss: of the last commands, of the task queue, of the timers.
//!
//! | the run is | then |
//! |---|---|
//! | not submitted | nothing |
//! | finished | what the end takes back, which may have been lost after the mark was written; the mark if it is missing |
//! | halted | what the halt took back, dead letters as they should be, the deadline's timer |
//! | open | attempts in flight, pending timers, dead letters as they should be |
//! | closing | the same of its last steps, and what closing took back |
//!
//! Beside that, in all of them: the end of runs that a join did not wait for, and of one that goes on in the place of a run
//! that somebody ended.

use kapelle_types::Timestamp;

use crate::approval;
use crate::command::{Command, DeadLetter, TimerId};
use crate::finish::{
    cancel_deadline, each_slot, remove_dead_letters, remove_revived, report_outcome, stop_abandoned, withdraw,
};
use crate::state::{Place, Run, RunStatus, Slot, SlotState, Stage, passed_on};

/// The commands that bring about everything the run still waits for, timers that are due included.
///
/// Past the run's deadline nothing is dispatched again: no worker would execute it, and the deadline's timer, which is
/// set, ends the run.
#[must_use]
pub fn outstanding(run: &Run, now: Timestamp) -> Vec<Command> {
    let mut commands = Vec::new();
    stop_abandoned(run, &mut commands);
    commands.extend(passed_on(run));
    match run.stage() {
        Stage::Pending => {}
        Stage::Finished => finished(run, &mut commands),
        Stage::Halted => {
            withdraw(run, false, |_| true, &mut commands);
            deadline(run, &mut commands);
            dead_letters(run, &mut commands);
        }
        Stage::Open => {
            withdraw(run, false, |step| run.is_off(step), &mut commands);
            let expired = run.deadline().is_some_and(|deadline| deadline <= now);
            deadline(run, &mut commands);
            each_slot(run, |place, slot| match &slot.state {
                _ if run.is_off(place.step) => {}
                SlotState::InFlight if !expired => commands.extend(dispatch(run, place, slot)),
                SlotState::Retrying(due) => commands.extend(timer(run, place, slot, *due)),
                SlotState::Awaiting(Some(due)) => {
                    commands.extend(wake(run, place, slot, *due));
                    commands.extend(approval::check(run, place));
                }
                SlotState::InFlight
                | SlotState::Awaiting(None)
                | SlotState::Due
                | SlotState::GaveUp(_)
                | SlotState::Broken(_)
                | SlotState::Done => {}
            });
            dead_letters(run, &mut commands);
        }
    }
    commands
}

fn finished(run: &Run, commands: &mut Vec<Command>) {
    let Some(outcome) = run.outcome() else { return };
    withdraw(run, outcome.status == RunStatus::Terminated, |_| true, commands);
    commands.extend(report_outcome(run, outcome));
    remove_dead_letters(run, commands);
    remove_revived(run, commands);
    if !run.marked {
        // Lost, they go off once more and are ignored.
        cancel_deadline(run, outcome.status, commands);
        commands.extend(run.closing.as_ref().map(|_| Command::CancelTimer { timer: TimerId::Closing }));
        commands.push(Command::FinishRun(Box::new(outcome.clone())));
    }
}

fn deadline(run: &Run, commands: &mut Vec<Command>) {
    let timer = if run.closing.is_some() { TimerId::Closing } else { TimerId::Deadline };
    commands.extend(run.deadline().map(|due| Command::StartTimer { timer, due }));
}

fn timer(run: &Run, place: Place, slot: &Slot, due: Timestamp) -> Option<Command> {
    let task = place.task(&run.plan, slot.attempt.saturating_add(1))?;
    Some(Command::StartTimer { timer: TimerId::Retry(task), due })
}

/// The timer of a slot that waits.
pub(crate) fn wake(run: &Run, place: Place, slot: &Slot, due: Timestamp) -> Option<Command> {
    let task = place.task(&run.plan, slot.attempt)?;
    Some(Command::StartTimer { timer: TimerId::Wake(task), due })
}

/// The input is evaluated again rather than kept: the expression is pure and most runs wait in memory for long.
fn dispatch(run: &Run, place: Place, slot: &Slot) -> Option<Command> {
    let planned = run.plan.steps.get(place.step)?;
    let input = approval::arguments(run, place, planned).ok()?;
    let task = place.task(&run.plan, slot.attempt)?;
    Command::attempt(run, place, planned, task, input)
}

fn dead_letters(run: &Run, commands: &mut Vec<Command>) {
    remove_revived(run, commands);
    commands.extend(run.stuck.iter().filter_map(|place| dead_letter(run, *place)));
}

/// The dead letter of a slot that gave up; `None` if it did not, or if it is no agent's.
pub(crate) fn dead_letter(run: &Run, place: Place) -> Option<Command> {
    let planned = run.plan.steps.get(place.step)?;
    let slot = run.slot(place)?;
    let SlotState::GaveUp(at) = slot.state else { return None };
    let input = approval::arguments(run, place, planned).unwrap_or_else(|_| kapelle_types::Payload::null());
    let history = slot.trouble.as_ref().map_or(&[][..], |t| &t.history);
    let named = |(attempt, at, failure): &(u32, Timestamp, crate::Failure)| {
        place.task(&run.plan, *attempt).map(|task| (task, *at, failure.clone()))
    };
    Some(Command::WriteDeadLetter(Box::new(DeadLetter {
        task: place.task(&run.plan, slot.attempt)?,
        agent: run.doing(place, planned).version()?.clone(),
        input,
        cause: slot.failure()?.clone(),
        history: history.iter().filter_map(named).collect(),
        at,
    })))
}
