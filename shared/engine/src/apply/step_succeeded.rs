//! `StepSucceeded`: an attempt ended well.
//!
//! A success of any attempt that was ever dispatched is accepted while the step or member is undecided, since an agent's
//! work is the same whichever attempt did it. What was under way instead is taken back:
//!
//! | the slot is | then |
//! |---|---|
//! | in flight with this attempt | nothing to take back |
//! | in flight with a later attempt | that one is withdrawn |
//! | waiting for its retry timer | the timer is cancelled |
//! | due, held by a pause | nothing to take back |
//! | given up, its run STALLED | the dead letter is removed; the run goes on |

use kapelle_types::{Attempt, Payload};

use super::reported;
use crate::command::{Command, TimerId};
use crate::entry::StepSucceeded;
use crate::ignored::Ignored;
use crate::state::{Place, SlotState};
use crate::turn::Turn;
use crate::weight::value_bytes;

pub(super) fn apply(turn: &mut Turn<'_>, report: &StepSucceeded) -> Result<(), Ignored> {
    let (place, slot) = reported(turn.run, &report.task)?;
    let dispatched = slot.attempt;
    turn.run.edit_slot(place, |slot| slot.trouble = None);
    let old = turn.run.set_slot(place, SlotState::Done);
    if let Some(old) = old {
        take_back(turn, place, &old, dispatched, report.task.attempt);
    }
    match place.item {
        None => turn.end_single(place.step, report.output.clone(), dispatched),
        Some(item) => end_member(turn, place, item, &report.output),
    }
    Ok(())
}

/// Takes back what the slot's old state had asked for.
fn take_back(turn: &mut Turn<'_>, place: Place, old: &SlotState, dispatched: Attempt, succeeded: Attempt) {
    let plan = turn.plan();
    let Some(agent) = plan.steps.get(place.step).map(|s| s.agent.clone()) else { return };
    let command = match old {
        SlotState::InFlight if succeeded != dispatched => {
            place.task(&plan, dispatched).map(|task| Command::WithdrawTask { task, agent })
        }
        SlotState::Retrying(_) => {
            let next = dispatched.saturating_add(1);
            place.task(&plan, next).map(|task| Command::CancelTimer { timer: TimerId::Retry(task) })
        }
        SlotState::GaveUp(_) => place.name(&plan).map(|step| Command::RemoveDeadLetter { step, agent }),
        SlotState::InFlight | SlotState::Due | SlotState::Broken(_) | SlotState::Done => None,
    };
    turn.commands.extend(command);
}

/// Keeps a member's output in its place, lets its item go, and makes room for the next member.
fn end_member(turn: &mut Turn<'_>, place: Place, item: u32, output: &Payload) {
    let Some(fan) = turn.run.fan_out_mut(place.step) else { return };
    let at = item as usize;
    let freed = fan.items.get_mut(at).and_then(Option::take).map_or(0, |v| value_bytes(&v));
    let added = output.value.as_deref().map_or(0, value_bytes);
    if let Some(slot) = fan.outputs.get_mut(at) {
        slot.clone_from(&output.value);
    }
    turn.run.heap_bytes = turn.run.heap_bytes.saturating_sub(freed) + added;
    turn.wake(place.step);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn three_steps_in_a_row() {
        let plan = json!({"steps": [
            {"id": "a", "with": {"n": "${input.n}"}},
            {"id": "b", "needs": ["a"], "with": {"from_a": "${steps.a.output}"}},
            {"id": "c", "needs": ["b"], "with": "${steps.b.output.list}"},
        ], "output": {"last": "${steps.c.output}"}});
        let told = check(
            &plan,
            "
            0 submit {\"n\": 7}
            1 ok a 1 {\"x\": 1}
            2 ok b 1 {\"list\": [1, 2]}
            3 ok c 1 \"done\"
            4 ?
            5 finished
            6 ?",
        );
        insta::assert_snapshot!(told, @r#"
        > 0 submit {"n": 7}
          dispatch a#1 {"n":7}
        > 1 ok a 1 {"x": 1}
          dispatch b#1 {"from_a":{"x":1}}
        > 2 ok b 1 {"list": [1, 2]}
          dispatch c#1 [1,2]
        > 3 ok c 1 "done"
          finish COMPLETED decided at 4 {"last":"done"}
        > 4 ?
          finish COMPLETED decided at 4 {"last":"done"}
        > 5 finished
        > 6 ?
        = COMPLETED
        "#);
    }
}
