//! `TimerFired`: a durable timer went off.
//!
//! Timers are hints: one may be lost, repeated, late or, with clocks that differ, early. A retry timer counts only while
//! exactly its attempt is waited for. While the run is paused the attempt becomes due and is dispatched on resume.

use std::time::Duration;

use kapelle_types::{Code, TaskId, Timestamp};

use super::locate;
use crate::command::{Command, TimerId};
use crate::entry::Failure;
use crate::ignored::Ignored;
use crate::state::{RunStatus, SlotState, Stage};
use crate::turn::Turn;

/// How early a timer may go off and still count: the broker's scheduler and its log may read different clocks.
const EARLY_MAX: Duration = Duration::from_millis(250);

pub(super) fn apply(turn: &mut Turn<'_>, timer: &TimerId) -> Result<(), Ignored> {
    match timer {
        TimerId::Deadline => deadline(turn),
        TimerId::Retry(_) if turn.run.stage() == Stage::Halted => Err(Ignored::RunHalted),
        TimerId::Retry(task) => retry(turn, task),
    }
}

/// The run has lasted as long as it may. A halted run too: its end is all that it accepts.
fn deadline(turn: &mut Turn<'_>) -> Result<(), Ignored> {
    let due = turn.run.deadline().ok_or(Ignored::UnknownTimer)?;
    not_early(turn, &TimerId::Deadline, due)?;
    let message = format!("the run was not done at its deadline, {due}");
    turn.finish(RunStatus::TimedOut, None, Some(Failure::of_run(Code::DEADLINE, message)));
    Ok(())
}

fn retry(turn: &mut Turn<'_>, task: &TaskId) -> Result<(), Ignored> {
    let place = locate(turn.run, &task.step).map_err(|_| Ignored::UnknownTimer)?;
    let slot = turn.run.slot(place).ok_or(Ignored::StaleTimer)?;
    let SlotState::Retrying(due) = slot.state else { return Err(Ignored::StaleTimer) };
    if slot.attempt.saturating_add(1) != task.attempt {
        return Err(Ignored::StaleTimer);
    }
    not_early(turn, &TimerId::Retry(task.clone()), due)?;
    turn.run.set_slot(place, SlotState::Due);
    turn.wake(place.step);
    Ok(())
}

/// A timer that goes off early is used up all the same, so it is set again.
fn not_early(turn: &mut Turn<'_>, timer: &TimerId, due: Timestamp) -> Result<(), Ignored> {
    if turn.stamp.at.plus(EARLY_MAX) >= due {
        return Ok(());
    }
    turn.commands.push(Command::StartTimer { timer: timer.clone(), due });
    Err(Ignored::TimerEarly)
}
