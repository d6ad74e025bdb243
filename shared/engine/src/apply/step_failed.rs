//! `StepFailed`: an attempt failed, was lost or was given back. Here stands what happens when a step fails its third
//! attempt: [`verdict`] decides whether there is a next one, [`give_up`] does what follows if there is none.
//!
//! Only a failure of the attempt that is waited for counts; of any other it is stale. Nothing is withdrawn: whoever
//! reports acknowledges the task next.

use std::time::Duration;

use kapelle_types::limits::LEASE_LOST_MAX;
use kapelle_types::{RetryPolicy, Timestamp};

use super::reported;
use crate::closing;
use crate::command::{Command, TimerId};
use crate::entry::{Failure, FailureKind, StepFailed};
use crate::ignored::Ignored;
use crate::outstanding::dead_letter;
use crate::plan::{OnGiveUp, PlanStep};
use crate::state::{Place, Run, RunStatus, Slot, SlotState, StepState, seed};
use crate::turn::Turn;

/// The longest wait that an agent can ask for with `retry_after`: a slip in a unit must not hold a run for years.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn apply(turn: &mut Turn<'_>, report: &StepFailed) -> Result<(), Ignored> {
    let (place, slot) = reported(turn.run, &report.task)?;
    closing::leaves(turn.run, place.step)?;
    if slot.state != SlotState::InFlight || slot.attempt != report.task.attempt {
        return Err(Ignored::StaleAttempt);
    }
    let plan = turn.plan();
    let Some(planned) = plan.steps.get(place.step) else { return Err(Ignored::UnknownStep) };
    let (failure, at) = (&report.failure, turn.stamp.at);
    turn.run.edit_slot(place, |slot| burn(slot, failure, at));
    let seed = seed(&turn.run.id, &planned.id, place.item);
    let policy = turn.run.doing(place, planned).retry;
    let verdict = turn.run.slot(place).map(|slot| verdict(policy, slot, failure, at, seed));
    match verdict.unwrap_or(Verdict::GiveUp) {
        Verdict::Again => {
            turn.run.set_slot(place, SlotState::Due);
        }
        Verdict::After(delay) => retry_after(turn, place, at.plus(delay)),
        Verdict::GiveUp => give_up(turn, place, planned),
    }
    turn.wake(place.step);
    Ok(())
}

/// What becomes of a slot whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The next attempt is dispatched at once.
    Again,
    /// The next attempt is dispatched after this time.
    After(Duration),
    /// There is no next attempt.
    GiveUp,
}

/// Counts a failure against the budget that it burns.
fn burn(slot: &mut Slot, failure: &Failure, at: Timestamp) {
    match failure.kind {
        FailureKind::Returned => return,
        FailureKind::LeaseLost => slot.trouble.get_or_insert_default().lost += 1,
        FailureKind::Agent | FailureKind::Timeout => slot.trouble.get_or_insert_default().counted += 1,
    }
    slot.remember(at, failure);
}

/// The retry rule, with the failure counted already.
///
/// `total` bounds the retries that the policy asks for. A task that was lost or given back is not the agent's doing: it is
/// dispatched again whenever that happens.
fn verdict(policy: &RetryPolicy, slot: &Slot, failure: &Failure, at: Timestamp, seed: u64) -> Verdict {
    let (counted, lost) = slot.trouble.as_ref().map_or((0, 0), |t| (t.counted, t.lost));
    let final_code = || policy.non_retryable.contains(&failure.code);
    match failure.kind {
        FailureKind::Returned => Verdict::Again,
        FailureKind::LeaseLost if lost > LEASE_LOST_MAX => Verdict::GiveUp,
        FailureKind::LeaseLost => Verdict::Again,
        FailureKind::Agent | FailureKind::Timeout if !failure.retryable || final_code() => Verdict::GiveUp,
        FailureKind::Agent | FailureKind::Timeout if counted >= policy.max_attempts => Verdict::GiveUp,
        FailureKind::Agent | FailureKind::Timeout => {
            let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
            let delay = policy.delay(counted, seed).max(asked);
            let first = slot.first_at.unwrap_or(at);
            match policy.total {
                Some(total) if at.plus(delay) > first.plus(total) => Verdict::GiveUp,
                Some(_) | None if delay.is_zero() => Verdict::Again,
                Some(_) | None => Verdict::After(delay),
            }
        }
    }
}

fn retry_after(turn: &mut Turn<'_>, place: Place, due: Timestamp) {
    turn.run.set_slot(place, SlotState::Retrying(due));
    let next = turn.run.slot(place).map_or(0, |slot| slot.attempt.saturating_add(1));
    let task = place.task(&turn.run.plan, next);
    turn.commands.extend(task.map(|task| Command::StartTimer { timer: TimerId::Retry(task), due }));
}

/// The budget is exhausted: a dead letter and a STALLED run, or what the manifest says instead.
pub(crate) fn give_up(turn: &mut Turn<'_>, place: Place, planned: &PlanStep) {
    if planned.on_give_up == OnGiveUp::Continue || may_fail(turn.run, place, planned) {
        return turn.pass_over(place);
    }
    turn.run.set_slot(place, SlotState::GaveUp(turn.stamp.at));
    if planned.on_give_up == OnGiveUp::Stall {
        return turn.commands.extend(dead_letter(turn.run, place));
    }
    let name = place.name(&turn.run.plan);
    let slot = turn.run.slot(place);
    let error = name.zip(slot).and_then(|(n, s)| s.failure().map(|f| Failure::gave_up(&n, s.attempt, f)));
    turn.finish(RunStatus::Failed, None, error);
}

/// Whether a member may give up without the step giving up: fewer have than may.
fn may_fail(run: &Run, place: Place, planned: &PlanStep) -> bool {
    let (Some(max), Some(StepState::FanOut(fan))) = (planned.max_failures, run.state(place.step)) else { return false };
    place.item.is_some() && fan.passed_over < max.of(fan.total())
}

#[cfg(test)]
mod tests;
