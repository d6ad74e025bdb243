//! `TimerFired`: a durable timer went off.
//!
//! Timers are hints: one may be lost, repeated, late or, with clocks that differ, early. A retry timer counts only while
//! exactly its attempt is waited for. While the run is paused the attempt becomes due and is dispatched on resume.

use std::time::Duration;

use kapelle_types::{Code, Payload, TaskId, Timestamp};

use super::{approval_decided, give_up, locate};
use crate::approval;
use crate::command::{Command, TimerId};
use crate::entry::Failure;
use crate::ignored::Ignored;
use crate::plan::Act;
use crate::state::{RunStatus, SlotState, Stage};
use crate::turn::Turn;

/// How early a timer may go off and still count: the broker's scheduler and its log may read different clocks.
const EARLY_MAX: Duration = Duration::from_millis(250);

pub(super) fn apply(turn: &mut Turn<'_>, timer: &TimerId) -> Result<(), Ignored> {
    match timer {
        TimerId::Deadline => deadline(turn),
        TimerId::Closing => closing(turn),
        TimerId::Retry(_) | TimerId::Wake(_) if turn.run.stage() == Stage::Halted => Err(Ignored::RunHalted),
        TimerId::Retry(task) => retry(turn, task),
        TimerId::Wake(task) => wake(turn, task),
    }
}

/// The run has lasted as long as it may. A halted run too: its end is all that it accepts.
fn deadline(turn: &mut Turn<'_>) -> Result<(), Ignored> {
    if turn.run.closing.is_some() {
        return Err(Ignored::StaleTimer);
    }
    let due = turn.run.deadline().ok_or(Ignored::UnknownTimer)?;
    not_early(turn, &TimerId::Deadline, due, EARLY_MAX)?;
    let message = format!("the run was not done at its deadline, {due}");
    turn.finish(RunStatus::TimedOut, None, Some(Failure::of_run(Code::DEADLINE, message)));
    Ok(())
}

/// The run has been closing for as long as it may.
fn closing(turn: &mut Turn<'_>) -> Result<(), Ignored> {
    let due = turn.run.closing.as_ref().and_then(|_| turn.run.deadline()).ok_or(Ignored::StaleTimer)?;
    not_early(turn, &TimerId::Closing, due, EARLY_MAX)?;
    turn.close_overdue();
    Ok(())
}

fn retry(turn: &mut Turn<'_>, task: &TaskId) -> Result<(), Ignored> {
    let place = locate(turn.run, &task.step).map_err(|_| Ignored::UnknownTimer)?;
    let slot = turn.run.slot(place).filter(|_| !turn.run.is_off(place.step)).ok_or(Ignored::StaleTimer)?;
    let SlotState::Retrying(due) = slot.state else { return Err(Ignored::StaleTimer) };
    if slot.attempt.saturating_add(1) != task.attempt {
        return Err(Ignored::StaleTimer);
    }
    not_early(turn, &TimerId::Retry(task.clone()), due, EARLY_MAX)?;
    turn.run.set_slot(place, SlotState::Due);
    turn.wake(place.step);
    Ok(())
}

/// What a step waits for is over: the time has come, or the signal has not. A wait is never early, however clocks differ.
fn wake(turn: &mut Turn<'_>, task: &TaskId) -> Result<(), Ignored> {
    let place = locate(turn.run, &task.step).map_err(|_| Ignored::UnknownTimer)?;
    let slot = turn.run.slot(place).filter(|_| !turn.run.is_off(place.step)).ok_or(Ignored::StaleTimer)?;
    let SlotState::Awaiting(Some(due)) = slot.state else { return Err(Ignored::StaleTimer) };
    if slot.attempt != task.attempt {
        return Err(Ignored::StaleTimer);
    }
    not_early(turn, &TimerId::Wake(task.clone()), due, Duration::ZERO)?;
    let plan = turn.plan();
    let Some(planned) = plan.steps.get(place.step) else { return Err(Ignored::UnknownTimer) };
    if approval::is_asked(turn.run, place) {
        let failure = planned.approval().map(Failure::approval_expired).ok_or(Ignored::UnknownTimer)?;
        approval_decided::deny(turn, place, planned, &failure);
        return Ok(());
    }
    match &planned.act {
        Act::Signal(signal) => {
            let failure = Failure::signal_timeout(signal);
            let at = turn.stamp.at;
            turn.run.edit_slot(place, |slot| slot.remember(at, &failure));
            give_up(turn, place, planned);
        }
        Act::Agent(_)
        | Act::Emit(_)
        | Act::Workflow(_)
        | Act::Value
        | Act::Switch(_)
        | Act::Wait(_)
        | Act::Approval(_) => {
            turn.succeed(place, &Payload::null());
        }
    }
    turn.wake(place.step);
    Ok(())
}

/// A timer that goes off early is used up all the same, so it is set again.
fn not_early(turn: &mut Turn<'_>, timer: &TimerId, due: Timestamp, tolerance: Duration) -> Result<(), Ignored> {
    if turn.stamp.at.plus(tolerance) >= due {
        return Ok(());
    }
    turn.commands.push(Command::StartTimer { timer: timer.clone(), due });
    Err(Ignored::TimerEarly)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    /// A quarter of a second early is early enough.
    #[test]
    fn stale_and_early_timers_are_named() {
        let plan = json!({"steps": [{"id": "a"}, {"id": "each", "foreach": "input"}]});
        let script = r#"
            0 submit [1]
            1 fire deadline
            2 fire retry=a=1
            3 fail a 1 oops
            4 fire retry=a=2
            5 fire retry=a=3
            6 fire retry=z=1
            7 fire retry=a:0=1
            8 fire retry=each:3=1
            800 fire retry=a=2
            801 fire retry=a=2"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1]
          dispatch a#1 {}
          dispatch each:0#1 {}
        > 1 fire deadline
          ignored: unknown_timer
        > 2 fire retry=a=1
          ignored: stale_timer
        > 3 fail a 1 oops
          start timer retry=a=2 at 1003
        > 4 fire retry=a=2
          ignored: timer_early
          start timer retry=a=2 at 1003
        > 5 fire retry=a=3
          ignored: stale_timer
        > 6 fire retry=z=1
          ignored: unknown_timer
        > 7 fire retry=a:0=1
          ignored: unknown_timer
        > 8 fire retry=each:3=1
          ignored: unknown_timer
        > 800 fire retry=a=2
          dispatch a#2 {}
        > 801 fire retry=a=2
          ignored: stale_timer
        = RUNNING
        "#);
    }

    #[test]
    fn the_deadline_ends_the_run_whatever_it_does() {
        let plan = json!({"steps": [{"id": "a"}, {"id": "b"}], "deadline_ms": 5000});
        let script = r#"
            10 submit
            11 fail a 1 oops
            4000 fire deadline
            5010 ?
            5011 fire deadline
            5012 ?
            5013 ok b 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 10 submit
          start timer deadline at 5010
          dispatch a#1 {}
          dispatch b#1 {}
        > 11 fail a 1 oops
          start timer retry=a=2 at 1011
        > 4000 fire deadline
          ignored: timer_early
          start timer deadline at 5010
        > 5010 ?
          start timer deadline at 5010
          start timer retry=a=2 at 1011
        > 5011 fire deadline
          cancel timer retry=a=2
          withdraw b#1
          finish TIMED_OUT decided at 5 K0306: the run was not done at its deadline, 1970-01-01T00:00:05.010Z
        > 5012 ?
          cancel timer retry=a=2
          withdraw b#1
          finish TIMED_OUT decided at 5 K0306: the run was not done at its deadline, 1970-01-01T00:00:05.010Z
        > 5013 ok b 1
          ignored: run_finished
        = TIMED_OUT
        "#);
    }
}
