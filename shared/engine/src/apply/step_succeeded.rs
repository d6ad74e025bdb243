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
//! | waiting for people to agree to a later attempt | the timer of the question is cancelled |
//! | given up, its run STALLED | the dead letter is removed; the run goes on |
//!
//! A success whose output breaks the agent's contract, or that is beyond a limit of the agent, is a failure: of the attempt
//! that is waited for, and final. One that hands the step to somebody who may not have it is a failure, too, which another
//! attempt may mend. In a run that is closing a success of the work only means that there is more to undo.

use kapelle_types::Attempt;

use super::{reported, step_failed};
use crate::command::{Command, TimerId};
use crate::contract;
use crate::entry::{StepFailed, StepSucceeded};
use crate::finish::remove_dead_letter;
use crate::handoff;
use crate::ignored::Ignored;
use crate::limits;
use crate::state::{Place, SlotState};
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, report: &StepSucceeded) -> Result<(), Ignored> {
    let (place, slot) = reported(turn.run, &report.task)?;
    if turn.run.is_off(place.step) {
        return turn.succeed_late(place, report);
    }
    let dispatched = slot.attempt;
    let beyond = limits::report(turn.run, place, &report.output, &report.usage);
    let refused = beyond.or_else(|| contract::output(turn.run, place, &report.output));
    if let Some(failure) = refused.or_else(|| handoff::refused(turn.run, place, &report.output)) {
        turn.refused = true;
        let (task, work, usage, token) = (report.task.clone(), report.work.clone(), report.usage, report.token);
        return step_failed::apply(turn, &StepFailed { task, failure, work, usage, token });
    }
    let old = slot.state.clone();
    turn.run.edit_slot(place, |slot| slot.trouble = None);
    turn.run.set_slot(place, SlotState::Done);
    take_back(turn, place, &old, dispatched, report.task.attempt);
    turn.succeed(place, &report.output);
    Ok(())
}

/// Takes back what the slot's old state had asked for.
fn take_back(turn: &mut Turn<'_>, place: Place, old: &SlotState, dispatched: Attempt, succeeded: Attempt) {
    let plan = turn.plan();
    let command = match old {
        SlotState::InFlight if succeeded != dispatched => {
            place.task(&plan, dispatched).and_then(|task| Command::withdraw(turn.run, place, task, false))
        }
        SlotState::Retrying(_) => {
            let next = dispatched.saturating_add(1);
            place.task(&plan, next).map(|task| Command::CancelTimer { timer: TimerId::Retry(task) })
        }
        SlotState::GaveUp(_) => remove_dead_letter(turn.run, place),
        SlotState::Awaiting(Some(_)) => {
            place.task(&plan, dispatched).map(|task| Command::CancelTimer { timer: TimerId::Wake(task) })
        }
        SlotState::InFlight | SlotState::Awaiting(None) | SlotState::Due | SlotState::Broken(_) | SlotState::Done => {
            None
        }
    };
    turn.commands.extend(command);
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
        let script = r#"
            0 submit {"n": 7}
            1 ok a 1 {"x": 1}
            2 ok b 1 {"list": [1, 2]}
            3 ok c 1 "done"
            4 ?
            5 finished
            6 ?"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
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

    #[test]
    fn a_diamond_waits_for_both_sides() {
        let plan = json!({"steps": [
            {"id": "top"}, {"id": "left", "needs": ["top"]}, {"id": "right", "needs": ["top"]},
            {"id": "end", "needs": ["left", "right", "top"], "with": ["${steps.left.output}", "${steps.right.output}"]},
        ]});
        let script = r#"
            0 submit
            1 ok top 1
            2 ok right 1 "r"
            3 ok left 1 "l"
            4 ok left 1 "again""#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch top#1 {}
        > 1 ok top 1
          dispatch left#1 {}
          dispatch right#1 {}
        > 2 ok right 1 "r"
        > 3 ok left 1 "l"
          dispatch end#1 ["l","r"]
        > 4 ok left 1 "again"
          ignored: already_decided
        = RUNNING
        "#);
    }

    #[test]
    fn members_start_in_order_and_their_outputs_keep_it() {
        let plan = json!({"steps": [
            {"id": "each", "foreach": "input", "max_parallel": 2, "with": {"i": "${index}", "item": "${item}"}},
        ], "output": "${steps.each.outputs}"});
        let script = r#"
            0 submit ["a", "b", "c", "d"]
            1 ok each:1 1 "B"
            2 ok each:2 1 "C"
            3 ok each:0 1 "A"
            4 ok each:2 1 "C again"
            5 ok each:4 1 "no such member"
            6 ok each 1 "not a member"
            7 ok each:3 1 "D""#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit ["a", "b", "c", "d"]
          dispatch each:0#1 {"i":0,"item":"a"}
          dispatch each:1#1 {"i":1,"item":"b"}
        > 1 ok each:1 1 "B"
          dispatch each:2#1 {"i":2,"item":"c"}
        > 2 ok each:2 1 "C"
          dispatch each:3#1 {"i":3,"item":"d"}
        > 3 ok each:0 1 "A"
        > 4 ok each:2 1 "C again"
          ignored: already_decided
        > 5 ok each:4 1 "no such member"
          ignored: unknown_step
        > 6 ok each 1 "not a member"
          ignored: unknown_step
        > 7 ok each:3 1 "D"
          finish COMPLETED decided at 8 ["A","B","C","D"]
        = COMPLETED
        "#);
    }

    /// The second attempt is in flight.
    #[test]
    fn a_late_success_takes_back_what_came_after_it() {
        let plan = json!({"steps": [{"id": "a", "retry": {"max_attempts": 2}}]});
        let script = r#"
            0 submit
            1 lost a 1
            2 ok a 1 "from the worker that was thought lost""#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 lost a 1
          dispatch a#2 {}
        > 2 ok a 1 "from the worker that was thought lost"
          withdraw a#2
          finish COMPLETED decided at 3 null
        = COMPLETED
        "#);
    }

    #[test]
    fn a_late_success_cancels_the_retry() {
        let plan = json!({"steps": [{"id": "a"}, {"id": "b", "needs": ["a"]}]});
        let script = r#"
            0 submit
            1 lost a 1
            2 fail a 2 oops
            3 ok a 1
            1002 fire retry=a=3"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 lost a 1
          dispatch a#2 {}
        > 2 fail a 2 oops
          start timer retry=a=3 at 1002
        > 3 ok a 1
          cancel timer retry=a=3
          dispatch b#1 {}
        > 1002 fire retry=a=3
          ignored: stale_timer
        = RUNNING
        "#);
    }

    #[test]
    fn a_late_success_of_a_step_that_gave_up_gets_the_run_on() {
        let plan = json!({"steps": [{"id": "a", "retry": {"max_attempts": 1}}]});
        let script = r#"
            0 submit
            1 lost a 1
            2 fail a 2 oops
            3 ok a 1 "after all""#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 lost a 1
          dispatch a#2 {}
        > 2 fail a 2 oops
          dead letter a#2 {} oops, history ["a#1 oops", "a#2 oops"]
        > 3 ok a 1 "after all"
          remove dead letter a
          finish COMPLETED decided at 4 null
        = COMPLETED
        "#);
    }

    #[test]
    fn an_attempt_that_was_never_dispatched_cannot_succeed() {
        let plan = json!({"steps": [{"id": "a"}, {"id": "b", "needs": ["a"]}]});
        let script = r#"
            0 submit
            1 ok a 0
            2 ok a 2
            3 ok b 1
            4 ok z 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 0
          ignored: unknown_attempt
        > 2 ok a 2
          ignored: unknown_attempt
        > 3 ok b 1
          ignored: unknown_attempt
        > 4 ok z 1
          ignored: unknown_step
        = RUNNING
        "#);
    }

    /// A value that cannot be fetched passes where only its claim check is needed; a list of values needs them all.
    #[test]
    fn outputs_that_cannot_be_fetched_stall_what_needs_them() {
        let plan = json!({"steps": [
            {"id": "a"}, {"id": "b", "needs": ["a"], "with": "${steps.a.output}"},
            {"id": "c", "needs": ["a"], "with": "${steps.a.output.x}"}, {"id": "each", "foreach": "input"},
        ]});
        let script = r#"
            0 submit [1]
            1 ok a 1 missing
            2 ok each:0 1 missing
            3 retry each
            4 retry
            5 ?"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1]
          dispatch a#1 {}
          dispatch each:0#1 {}
        > 1 ok a 1 missing
          dispatch b#1 (stored elsewhere)
        > 2 ok each:0 1 missing
        > 3 retry each
        > 4 retry
        > 5 ?
          dispatch b#1 (stored elsewhere)
        = STALLED
          K0305: step `c`: `with`: the payload of `steps.a.output` (SHA-256 283bb9deef02e6843abfb538efa1eca70801bd8a701c3f98191e123496339247) could not be fetched
        "#);
    }
}
