//! Rounds: a step that is done again after it succeeded, until that is good enough, or by another agent (`handoff.rs`).
//!
//! ```text
//!   success ──▶ `until` holds ────────────────▶ Done
//!           ├─▶ it does not ──▶ Due            the next round: a new retry budget, attempts go on counting
//!           ├─▶ it does not, `max` is reached ▶ GaveUp, or Done where that will do
//!           └─▶ it cannot be evaluated ───────▶ Broken
//! ```
//!
//! What an attempt of an earlier round says when the next has begun counts no more, nor what one says again that was not good
//! enough in the last.

use kapelle_types::{Code, Payload};

use crate::apply::give_up;
use crate::approval;
use crate::entry::Failure;
use crate::plan::{PlanStep, Repeat};
use crate::scope::View;
use crate::state::{Place, Slot, SlotState};
use crate::turn::Turn;

impl Turn<'_> {
    /// Whether a slot that has just succeeded is not done with that. What is to happen instead has happened then.
    pub(crate) fn goes_on(&mut self, place: Place, output: &Payload) -> bool {
        let plan = self.plan();
        let Some(planned) = plan.steps.get(place.step).filter(|planned| planned.has_rounds()) else { return false };
        let goes_on = match (&planned.repeat, &planned.handoff) {
            (Some(repeat), _) => self.repeats(place, planned, repeat, output),
            (None, Some(handoff)) => self.hands_on(place, planned, handoff, output),
            (None, None) => false,
        };
        if goes_on {
            self.wake(place.step);
        } else {
            approval::forget(self.run, place); // what people agreed to, or are asked now, has been done
        }
        goes_on
    }

    /// Whether the round that has just succeeded was not good enough.
    fn repeats(&mut self, place: Place, planned: &PlanStep, repeat: &Repeat, output: &Payload) -> bool {
        let round = self.run.slot(place).map_or(0, Slot::round);
        match repeat.until.evaluate_bool(&View::from(self.run, place).with_output(output)) {
            Ok(true) => return false,
            Err(error) => self.break_slot(place, "repeat.until", &error),
            Ok(false) if round.saturating_add(1) < repeat.max => {
                self.begin_round(place, output);
            }
            Ok(false) if repeat.accept => return false,
            Ok(false) => {
                let message = format!("`until` did not hold in {} rounds", repeat.max);
                self.end_rounds(place, planned, &Failure::of_run(Code::REPEAT_MAX, message));
            }
        }
        true
    }

    /// The next round, which sees what this one gave.
    pub(crate) fn begin_round(&mut self, place: Place, output: &Payload) {
        approval::forget(self.run, place);
        self.run.edit_slot(place, |slot| slot.begin_round(output.clone()));
        self.run.set_slot(place, SlotState::Due);
    }

    /// The rounds are used up: the step is not done after all, and gives up.
    pub(crate) fn end_rounds(&mut self, place: Place, planned: &PlanStep, failure: &Failure) {
        let at = self.stamp.at;
        approval::withdraw(self.run, place);
        self.run.set_slot(place, SlotState::Due);
        self.run.edit_slot(place, |slot| {
            slot.end_attempts();
            slot.remember(at, failure);
        });
        give_up(self, place, planned);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn a_step_is_done_again_until_it_is_good_enough() {
        let plan = json!({"steps": [
            {"id": "draft", "with": ["${last}", "${round}"], "repeat": {"until": "output.done || round > 4", "max": 9}},
            {"id": "b", "needs": ["draft"], "with": "${steps.draft.output.n}"},
        ]});
        let script = r#"
            0 submit
            1 ok draft 1 {"done": false, "n": 1}
            2 ok draft 1 {"done": true, "n": 7}
            3 fail draft 1 oops
            4 fail draft 2 oops
            5 ?
            1004 fire retry=draft=3
            1005 ok draft 2 {"done": false, "n": 2}
            1006 ?
            1007 ok draft 4 {"done": true, "n": 3}
            1008 ok draft 3 {"done": true, "n": 4}"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch draft#1 [null,0]
        > 1 ok draft 1 {"done": false, "n": 1}
          dispatch draft#2 [{"done":false,"n":1},1]
        > 2 ok draft 1 {"done": true, "n": 7}
          ignored: already_decided
        > 3 fail draft 1 oops
          ignored: already_decided
        > 4 fail draft 2 oops
          start timer retry=draft=3 at 1004
        > 5 ?
          start timer retry=draft=3 at 1004
        > 1004 fire retry=draft=3
          dispatch draft#3 [{"done":false,"n":1},1]
        > 1005 ok draft 2 {"done": false, "n": 2}
          withdraw draft#3
          dispatch draft#4 [{"done":false,"n":2},2]
        > 1006 ?
          dispatch draft#4 [{"done":false,"n":2},2]
        > 1007 ok draft 4 {"done": true, "n": 3}
          dispatch b#1 3
        > 1008 ok draft 3 {"done": true, "n": 4}
          ignored: already_decided
        = RUNNING
        "#);
    }

    #[test]
    fn each_round_has_a_budget_of_its_own() {
        let plan = json!({"steps": [
            {"id": "a", "repeat": {"until": "output", "max": 3}, "retry": {"max_attempts": 2, "initial_ms": 0}},
        ]});
        let script =
            "0 submit\n1 fail a 1 oops\n2 ok a 2 false\n3 fail a 3 oops\n4 fail a 4 oops\n5 retry\n6 ok a 5 true";
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 fail a 1 oops
          dispatch a#2 {}
        > 2 ok a 2 false
          dispatch a#3 {}
        > 3 fail a 3 oops
          dispatch a#4 {}
        > 4 fail a 4 oops
          dead letter a#4 {} oops, history ["a#3 oops", "a#4 oops"]
        > 5 retry
          remove dead letter a
          dispatch a#5 {}
        > 6 ok a 5 true
          finish COMPLETED decided at 7 null
        = COMPLETED
        "#);
    }

    #[test]
    fn rounds_come_to_an_end() {
        let repeat = json!({"until": "output", "max": 2});
        let plan = json!({"steps": [{"id": "a", "repeat": repeat}]});
        let script = "0 submit\n1 ok a 1 false\n2 ok a 2 false\n3 ?\n4 retry\n5 ok a 2 false\n6 ok a 3 false\n7 ok a 3 true\n8 retry\n9 ok a 4 true";
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 1 false
          dispatch a#2 {}
        > 2 ok a 2 false
          dead letter a#2 {} K0323, history ["a#2 K0323"]
        > 3 ?
          dead letter a#2 {} K0323, history ["a#2 K0323"]
        > 4 retry
          remove dead letter a
          dispatch a#3 {}
        > 5 ok a 2 false
          ignored: already_decided
        > 6 ok a 3 false
          dead letter a#3 {} K0323, history ["a#3 K0323"]
        > 7 ok a 3 true
          ignored: already_decided
        > 8 retry
          remove dead letter a
          dispatch a#4 {}
        > 9 ok a 4 true
          finish COMPLETED decided at 10 null
        = COMPLETED
        "#);
        let accepted = json!({"until": "output", "max": 2, "accept": true});
        let plan = json!({"steps": [{"id": "a", "repeat": accepted}], "output": "${steps.a.output}"});
        insta::assert_snapshot!(check(&plan, "0 submit\n1 ok a 1 false\n2 ok a 2 false"), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 1 false
          dispatch a#2 {}
        > 2 ok a 2 false
          finish COMPLETED decided at 3 false
        = COMPLETED
        "#);
        let plan =
            json!({"steps": [{"id": "a", "repeat": repeat, "on_give_up": "continue"}], "output": "${steps.a.output}"});
        insta::assert_snapshot!(check(&plan, "0 submit\n1 ok a 1 false\n2 ok a 2 false"), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 1 false
          dispatch a#2 {}
        > 2 ok a 2 false
          finish COMPLETED decided at 3 null
        = COMPLETED
        "#);
    }

    #[test]
    fn a_condition_that_fails_stalls_the_run_and_members_have_rounds_too() {
        let plan = json!({"steps": [{"id": "a", "repeat": {"until": "output.x", "max": 2}}]});
        insta::assert_snapshot!(check(&plan, "0 submit\n1 ok a 1 {}\n2 retry\n3 ok a 2 {\"x\": true}"), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 1 {}
        > 2 retry
          dispatch a#2 {}
        > 3 ok a 2 {"x": true}
          finish COMPLETED decided at 4 null
        = COMPLETED
        "#);
        let plan = json!({"steps": [
            {"id": "each", "foreach": "input", "max_parallel": 1, "with": ["${item}", "${last}"], "repeat": {"until": "output > item", "max": 3}},
        ], "output": "${steps.each.outputs}"});
        let script = "0 submit [1, 2]\n1 ok each:0 1 1\n2 ok each:0 2 2\n3 ok each:1 1 9";
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2]
          dispatch each:0#1 [1,null]
        > 1 ok each:0 1 1
          dispatch each:0#2 [1,1]
        > 2 ok each:0 2 2
          dispatch each:1#1 [2,null]
        > 3 ok each:1 1 9
          finish COMPLETED decided at 4 [2,9]
        = COMPLETED
        "#);
    }

    /// What people agreed to is what the attempts got, and what the dead letter keeps.
    #[test]
    fn who_gives_up_after_the_last_round_had_what_people_had_edited() {
        let ask = json!({});
        let plan = json!({"steps": [
            {"id": "a", "with": {"n": 1}, "takes": ["n"], "approve": ask, "repeat": {"until": "output.good", "max": 1}},
        ]});
        let script = r#"
            0 submit
            1 decide a edit cyd {"n": 2}
            2 checked a
            3 ok a 1 {"good": false}
            4 ?
            5 retry
            6 ?"#;
        let told = check(&plan, script);
        assert_eq!(told.matches("dispatch a#1 {\"n\":2}").count(), 1, "{told}");
        assert_eq!(told.matches("dead letter a#1 {\"n\":2} K0323").count(), 2, "{told}");
        assert!(!told.contains("dead letter a#1 {\"n\":1}"), "{told}");
    }
}
