//! `RetryRequested`: somebody repaired what stalled the run.
//!
//! The steps that are named, or all that are stuck, get a new retry budget; attempt numbers go on. A `foreach` named as a
//! whole means all its stuck members. Names that are not stuck are passed over; if that leaves none, the request is
//! ignored by name. An expression that failed is evaluated again: since plan and values of a run never change it fails
//! again, unless a payload was missing that is there now. An agent that has spent its `cost_per_run` may spend it once more.

use kapelle_types::StepRef;

use super::locate;
use crate::approval;
use crate::finish::remove_dead_letter;
use crate::ignored::Ignored;
use crate::spending;
use crate::state::{Place, SlotState, StepState};
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, steps: &[StepRef]) -> Result<(), Ignored> {
    if !turn.run.is_stalled() {
        return Err(Ignored::NotStalled);
    }
    let places = meant(turn, steps);
    let output = steps.is_empty() && turn.run.broken_output.take().is_some();
    if places.is_empty() && !output {
        return Err(Ignored::NotGivenUp);
    }
    for place in places {
        renew(turn, place);
        turn.wake(place.step);
    }
    Ok(())
}

/// The stuck places that the request means.
fn meant(turn: &Turn<'_>, steps: &[StepRef]) -> Vec<Place> {
    if steps.is_empty() {
        return turn.run.stuck.iter().copied().collect();
    }
    let mut places = Vec::new();
    for name in steps {
        let whole = turn.run.find(&name.step).filter(|_| name.item.is_none());
        if let Some(step) = whole {
            let all = Place::whole(step)..Place::whole(step + 1);
            places.extend(turn.run.stuck.range(all).copied());
        } else if let Ok(place) = locate(turn.run, name) {
            places.extend(turn.run.stuck.get(&place).copied());
        }
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// Makes a stuck place due again, with something to spend if its agent has spent what it could.
fn renew(turn: &mut Turn<'_>, place: Place) {
    spending::grant(turn.run, place);
    approval::forget(turn.run, place);
    turn.run.set_stuck(place, false);
    turn.run.edit_slot(place, crate::state::Slot::renew);
    if let Some(SlotState::GaveUp(_)) = turn.run.set_slot(place, SlotState::Due) {
        turn.commands.extend(remove_dead_letter(turn.run, place));
    }
    let step = turn.run.steps.get_mut(place.step).map(|s| &mut s.state);
    match step {
        Some(state @ StepState::Broken(_)) => *state = StepState::Ready,
        Some(StepState::FanOut(fan)) if place.item.is_none() => fan.broken = None,
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn steps_get_a_new_budget_and_attempts_go_on() {
        let plan = json!({"steps": [{"id": "a", "retry": {"max_attempts": 2, "initial_ms": 0}}]});
        let script = r#"
            0 submit
            1 retry
            2 fail a 1 oops
            3 fail a 2 oops
            4 retry id=r1
            5 retry id=r1
            6 fail a 3 oops
            7 fail a 4 oops
            8 retry id=r2 a
            9 ok a 5"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 retry
          ignored: not_stalled
        > 2 fail a 1 oops
          dispatch a#2 {}
        > 3 fail a 2 oops
          dead letter a#2 {} oops, history ["a#1 oops", "a#2 oops"]
        > 4 retry id=r1
          remove dead letter a
          dispatch a#3 {}
        > 5 retry id=r1
          ignored: duplicate
        > 6 fail a 3 oops
          dispatch a#4 {}
        > 7 fail a 4 oops
          dead letter a#4 {} oops, history ["a#1 oops", "a#2 oops", "a#3 oops", "a#4 oops"]
        > 8 retry id=r2 a
          remove dead letter a
          dispatch a#5 {}
        > 9 ok a 5
          finish COMPLETED decided at 10 null
        = COMPLETED
        "#);
    }

    /// The first attempt after the repair starts the total anew.
    #[test]
    fn the_total_starts_anew() {
        let plan = json!({"steps": [{"id": "a", "retry": {"total_ms": 1500}}]});
        let script = r#"
            0 submit
            1000 fail a 1 oops
            90000 retry
            90001 fail a 2 oops"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1000 fail a 1 oops
          dead letter a#1 {} oops, history ["a#1 oops"]
        > 90000 retry
          remove dead letter a
          dispatch a#2 {}
        > 90001 fail a 2 oops
          start timer retry=a=3 at 91001
        = WAITING
        "#);
    }

    #[test]
    fn a_foreach_named_as_a_whole_means_its_stuck_members() {
        let plan = json!({"steps": [
            {"id": "each", "foreach": "input", "max_parallel": 1, "retry": {"max_attempts": 1}},
            {"id": "b", "retry": {"max_attempts": 1}},
        ]});
        let script = r#"
            0 submit [0, 1, 2]
            1 fail each:0 1 oops
            2 fail each:1 1 oops
            3 ok each:2 1
            4 fail b 1 oops
            5 retry each:2 z
            6 retry each:1
            7 ok each:1 2
            8 retry each
            9 ok each:0 2"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [0, 1, 2]
          dispatch each:0#1 {}
          dispatch b#1 {}
        > 1 fail each:0 1 oops
          dead letter each:0#1 {} oops, history ["each:0#1 oops"]
          dispatch each:1#1 {}
        > 2 fail each:1 1 oops
          dead letter each:1#1 {} oops, history ["each:1#1 oops"]
          dispatch each:2#1 {}
        > 3 ok each:2 1
        > 4 fail b 1 oops
          dead letter b#1 {} oops, history ["b#1 oops"]
        > 5 retry each:2 z
          ignored: not_given_up
        > 6 retry each:1
          remove dead letter each:1
          dispatch each:1#2 {}
        > 7 ok each:1 2
        > 8 retry each
          remove dead letter each:0
          dispatch each:0#2 {}
        > 9 ok each:0 2
        = STALLED
          K0301: step `b` gave up after 1 attempt: oops: it broke
        "#);
    }

    #[test]
    fn a_retry_of_a_paused_run_waits_for_the_resume() {
        let plan = json!({"steps": [{"id": "a", "retry": {"max_attempts": 1}}]});
        let script = r#"
            0 submit
            1 fail a 1 oops
            2 pause
            3 retry
            4 resume"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 fail a 1 oops
          dead letter a#1 {} oops, history ["a#1 oops"]
        > 2 pause
        > 3 retry
          remove dead letter a
        > 4 resume
          dispatch a#2 {}
        = RUNNING
        "#);
    }

    #[test]
    fn an_expression_fails_again() {
        let plan = json!({"steps": [
            {"id": "a", "when": "input.n > 1"}, {"id": "b", "foreach": "input.n"}, {"id": "c", "with": "${input.n.x}"},
            {"id": "d", "foreach": "input.list", "with": "${item.x}"},
        ]});
        let script = r#"
            0 submit {"n": "text", "list": [1, {"x": 2}]}
            1 retry
            2 giveup"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit {"n": "text", "list": [1, {"x": 2}]}
          dispatch d:1#1 2
        > 1 retry
        > 2 giveup
          withdraw d:1#1
          finish FAILED decided at 3 K0302: step `a`: `when`: `>` does not work on string and int; failed by ada
        = FAILED
        "#);
    }

    #[test]
    fn an_output_that_fails_stalls_the_run() {
        let plan = json!({"steps": [{"id": "a"}], "output": "${steps.a.output.missing}"});
        let script = r#"
            0 submit
            1 ok a 1 {}
            2 retry
            3 retry a"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 1 {}
        > 2 retry
        > 3 retry a
          ignored: not_given_up
        = STALLED
          K0302: the workflow's `output`: `steps.a.output` has no field `missing`
        "#);
    }
}
