//! Joins: a step that begins when some of the steps that it needs have succeeded, and takes the others back.
//!
//! ```text
//!   a ──┐
//!   b ──┼─▶ first two of three ──▶ begins, with null for the third     a, b succeeded: c is CANCELED, and what only c needs
//!   c ──┘                     └──▶ cannot begin                        two of them ended without a success
//! ```
//!
//! From its beginning on everything has ended that the step needs, as for every other step: so what an attempt is given is
//! the same whenever it is computed. Attempts that are taken back may still be reported; then they count as what they cost.

use kapelle_types::Code;

use crate::approval;
use crate::entry::Failure;
use crate::finish::{remove_dead_letter, withdraw};
use crate::plan::{Act, Bond, Join, OnGiveUp, PlanStep, StepIndex};
use crate::state::{Place, Run, RunStatus, SlotState, StepState};
use crate::turn::Turn;
use crate::weight::value_bytes;

impl Turn<'_> {
    /// Whether a step that waits may begin: everything that it needs has ended, or enough of what it joins has succeeded and
    /// the rest of its needs has ended.
    pub(crate) fn may_begin(&self, step: StepIndex) -> bool {
        let waiting = self.run.steps.get(step).filter(|it| it.state == StepState::Waiting);
        waiting.is_some_and(|it| it.waits == 0 || is_joined(self.run, step))
    }

    /// Takes back what a join does not wait for any more. False if too little of it has succeeded; then it has given up.
    pub(crate) fn join(&mut self, step: StepIndex, planned: &PlanStep) -> bool {
        let Some(join) = &planned.join else { return true };
        let there = succeeded(self.run, join);
        if there < join.quorum {
            let name = Place::whole(step).name(&self.run.plan).map_or_else(String::new, |name| name.to_string());
            let message =
                format!("step `{name}`: {there} of the steps that it joins succeeded, {} are needed", join.quorum);
            self.end_unjoined(step, planned, Failure::of_run(Code::JOIN_UNMET, message));
            return false;
        }
        let mut rest: Vec<_> = join.of.iter().rev().copied().collect();
        while let Some(one) = rest.pop() {
            let ended = |it: StepIndex| self.run.state(it).is_some_and(StepState::is_ended);
            let waits = |other: StepIndex| other != step && !ended(other) && !goes_on(self.run, other);
            let wanted = self.run.dependants.on(one).any(waits);
            if ended(one) || wanted {
                continue;
            }
            self.abandon(one);
            rest.extend(self.run.plan.steps.get(one).into_iter().flat_map(|it| it.needs.iter().rev()));
        }
        true
    }

    /// Nobody waits for a step any more: what it has asked for is taken back.
    fn abandon(&mut self, step: StepIndex) {
        withdraw(self.run, false, |it| it == step, &mut self.commands);
        let members = self.run.fan_out_mut(step).map(|fan| 0..u32::try_from(fan.members.len()).unwrap_or(u32::MAX));
        let of_members = members.into_iter().flatten().map(|item| Place::member(step, item));
        let mut below = Vec::new();
        for place in of_members.chain([Place::whole(step)]) {
            let in_flight = self.run.slot(place).filter(|slot| slot.state == SlotState::InFlight);
            below.extend(in_flight.filter(|_| self.run.runs_another(step)).map(|slot| (place.item, slot.attempt)));
            approval::forget(self.run, place);
            self.run.edit_slot(place, |slot| (slot.trouble, slot.rounds) = (None, None));
            if let Some(SlotState::GaveUp(_)) = self.run.set_slot(place, SlotState::Done) {
                self.commands.extend(remove_dead_letter(self.run, place));
            }
            self.run.set_stuck(place, false);
        }
        let attempts = match self.run.state(step) {
            Some(StepState::Single(slot)) => slot.attempt,
            Some(StepState::FanOut(fan)) => {
                let values = fan.items.iter().chain(&fan.outputs).flatten().map(|it| value_bytes(it)).sum::<usize>();
                let (attempts, weight) = (fan.attempts, fan.frame_bytes() + values);
                self.run.heap_bytes = self.run.heap_bytes.saturating_sub(weight);
                attempts
            }
            _ => 0,
        };
        self.run.heap_bytes += size_of_val(below.as_slice());
        self.end(step, StepState::Abandoned { attempts, below });
    }

    fn end_unjoined(&mut self, step: StepIndex, planned: &PlanStep, failure: Failure) {
        match planned.on_give_up {
            OnGiveUp::Stall => self.set_broken(Place::whole(step), failure),
            OnGiveUp::Continue => self.end(step, StepState::PassedOver { attempts: 0, failure: Box::new(failure) }),
            OnGiveUp::Fail => self.finish(RunStatus::Failed, None, Some(failure)),
        }
    }
}

/// Whether enough of what a step joins has succeeded, and everything else that it needs has ended.
pub(crate) fn is_joined(run: &Run, step: StepIndex) -> bool {
    let Some((planned, join)) = run.plan.steps.get(step).and_then(|it| Some((it, it.join.as_ref()?))) else {
        return false;
    };
    let ended = |need: &StepIndex| run.state(*need).is_some_and(StepState::is_ended);
    succeeded(run, join) >= join.quorum && planned.needs.iter().all(|need| join.of.contains(need) || ended(need))
}

/// Whether a step is the run that goes on in the place of this one: it needs the end of every step, and no step's success.
fn goes_on(run: &Run, step: StepIndex) -> bool {
    let continued = |act: &Act| matches!(act, Act::Workflow(act) if act.bond == Bond::Continued);
    run.plan.steps.get(step).is_some_and(|it| continued(&it.act))
}

fn succeeded(run: &Run, join: &Join) -> usize {
    join.of.iter().filter(|step| matches!(run.state(**step), Some(StepState::Succeeded { .. }))).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn the_first_that_succeed_are_enough_and_the_rest_is_taken_back() {
        let plan = json!({"steps": [
            {"id": "a"}, {"id": "b"}, {"id": "c", "retry": {"max_attempts": 9}},
            {"id": "two", "needs": ["a", "b", "c"], "join": 2, "with": ["${steps.a.output}", "${steps.b.status}", "${steps.c.status}"]},
        ], "output": "${steps.two.output}"});
        let script = r#"
            0 submit
            1 fail c 1 oops
            2 ok a 1 7
            3 ok b 1 8
            4 ok c 1 9
            5 ?
            6 ok two 1 10"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
          dispatch b#1 {}
          dispatch c#1 {}
        > 1 fail c 1 oops
          start timer retry=c=2 at 1001
        > 2 ok a 1 7
        > 3 ok b 1 8
          cancel timer retry=c=2
          dispatch two#1 [7,"SUCCEEDED","CANCELED"]
        > 4 ok c 1 9
          ignored: already_decided
        > 5 ?
          dispatch two#1 [7,"SUCCEEDED","CANCELED"]
        > 6 ok two 1 10
          finish COMPLETED decided at 7 10
        = COMPLETED
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit\n1 ok a 1 7\n2 pause\n3 ok b 1 8\n4 ?\n5 ok c 1 9\n6 resume"), @r#"
        > 0 submit
          dispatch a#1 {}
          dispatch b#1 {}
          dispatch c#1 {}
        > 1 ok a 1 7
        > 2 pause
        > 3 ok b 1 8
        > 4 ?
          dispatch c#1 {}
        > 5 ok c 1 9
        > 6 resume
          dispatch two#1 [7,"SUCCEEDED","SUCCEEDED"]
        = RUNNING
        "#);
    }

    #[test]
    fn whole_branches_that_race_are_taken_back() {
        let plan = json!({"steps": [
            {"id": "base"},
            {"id": "a1", "needs": ["base"]}, {"id": "a2", "needs": ["a1"]},
            {"id": "b1", "needs": ["base"], "foreach": "input"}, {"id": "b2", "needs": ["b1"]},
            {"id": "other", "needs": ["base"]},
            {"id": "any", "needs": ["a2", "b2", "other"], "join": {"of": ["a2", "b2"], "quorum": 1}},
        ]});
        let script = r#"
            0 submit [1, 2]
            1 ok base 1
            2 ok b1:0 1 1
            3 ok a1 1
            4 fail b1:1 1 oops
            5 ok a2 1
            6 ok b1:1 1
            7 ok other 1
            8 ok b1:1 1
            9 ok any 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2]
          dispatch base#1 {}
        > 1 ok base 1
          dispatch a1#1 {}
          dispatch b1:0#1 {}
          dispatch b1:1#1 {}
          dispatch other#1 {}
        > 2 ok b1:0 1 1
        > 3 ok a1 1
          dispatch a2#1 {}
        > 4 fail b1:1 1 oops
          start timer retry=b1:1=2 at 1004
        > 5 ok a2 1
        > 6 ok b1:1 1
          cancel timer retry=b1:1=2
          dispatch b2#1 {}
        > 7 ok other 1
          withdraw b2#1
          dispatch any#1 {}
        > 8 ok b1:1 1
          ignored: already_decided
        > 9 ok any 1
          finish COMPLETED decided at 10 null
        = COMPLETED
        "#);
    }

    #[test]
    fn too_few_that_succeed_are_none() {
        let spec = |on_give_up: &str| {
            json!({"steps": [
                {"id": "a", "on_give_up": "continue"}, {"id": "b", "when": "input.go"},
                {"id": "any", "needs": ["a", "b"], "join": 1, "on_give_up": on_give_up},
            ], "output": "${steps.any.status}"})
        };
        let script = "0 submit {\"go\": false}\n1 fail a 1 oops final\n2 ?";
        insta::assert_snapshot!(check(&spec("stall"), script), @r#"
        > 0 submit {"go": false}
          dispatch a#1 {}
        > 1 fail a 1 oops final
        > 2 ?
        = STALLED
          K0324: step `any`: 0 of the steps that it joins succeeded, 1 are needed
        "#);
        insta::assert_snapshot!(check(&spec("fail"), script), @r#"
        > 0 submit {"go": false}
          dispatch a#1 {}
        > 1 fail a 1 oops final
          finish FAILED decided at 2 K0324: step `any`: 0 of the steps that it joins succeeded, 1 are needed
        > 2 ?
          finish FAILED decided at 2 K0324: step `any`: 0 of the steps that it joins succeeded, 1 are needed
        = FAILED
        "#);
        insta::assert_snapshot!(check(&spec("continue"), script), @r#"
        > 0 submit {"go": false}
          dispatch a#1 {}
        > 1 fail a 1 oops final
          finish COMPLETED decided at 2 "GAVE_UP"
        > 2 ?
          finish COMPLETED decided at 2 "GAVE_UP"
        = COMPLETED
        "#);
    }

    #[test]
    fn what_waits_for_people_signals_and_times_is_taken_back_too() {
        let plan = json!({"steps": [
            {"id": "gate", "with": 1, "approval": {"quorum": 1, "expires_ms": 9000}},
            {"id": "told", "signal": "go", "timeout_ms": 5000}, {"id": "later", "wait": 5}, {"id": "gone"}, {"id": "quick"},
            {"id": "any", "needs": ["gate", "told", "later", "gone", "quick"], "join": 1},
        ], "signals": {"go": null}});
        let script = "0 submit\n1 fail gone 1 oops final\n2 ok quick 1\n3 decide gate approve bob\n4 signal go 1\n5 ok gone 1\n6 ok any 1";
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          start timer wake=gate=1 at 9000
          start timer wake=told=1 at 5000
          start timer wake=later=1 at 5000
          dispatch gone#1 {}
          dispatch quick#1 {}
        > 1 fail gone 1 oops final
          dead letter gone#1 {} oops, history ["gone#1 oops"]
        > 2 ok quick 1
          cancel timer wake=gate=1
          cancel timer wake=told=1
          cancel timer wake=later=1
          remove dead letter gone
          dispatch any#1 {}
        > 3 decide gate approve bob
          ignored: already_decided
        > 4 signal go 1
        > 5 ok gone 1
          ignored: already_decided
        > 6 ok any 1
          finish COMPLETED decided at 7 null
        = COMPLETED
        "#);
    }
}
