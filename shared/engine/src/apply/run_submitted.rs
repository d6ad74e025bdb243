//! `RunSubmitted`: the run begins. Steps that need nothing start, and the deadline's timer is set. Of a fork, the steps that
//! it keeps end at once, without an attempt and without a cost.
//!
//! A run whose plan is not the one that was submitted, or whose behaviour this engine does not know, is halted with a
//! reason instead: the coordinator checks both before, this is the last line.

use serde_json::Value;

use crate::behaviour;
use crate::command::{Command, TimerId};
use crate::entry::{Entry, Kept, KeptOutcome, RunSubmitted};
use crate::ignored::Ignored;
use crate::plan::{Phase, Plan, StepIndex};
use crate::state::{Halt, Origin};
use crate::turn::Turn;
use crate::weight::payload_bytes;

pub(super) fn apply(turn: &mut Turn<'_>, entry: &Entry, submitted: &RunSubmitted) -> Result<(), Ignored> {
    let origin = Origin {
        input: submitted.input.clone(),
        key: submitted.key.clone(),
        labels: submitted.labels.clone(),
        principal: submitted.owner.clone().unwrap_or_else(|| entry.principal.clone()),
        forked_from: submitted.forked_from,
        traceparent: entry.traceparent.clone(),
        at: turn.stamp.at,
        behaviour: submitted.behaviour,
        definition: submitted.workflow_digest,
        person: submitted.person.clone(),
        signing_key: submitted.signing_key,
        parent: submitted.parent.clone(),
        continued_from: submitted.continued_from,
        priority: submitted.priority,
        fairness: submitted.fairness.clone(),
    };
    turn.run.heap_bytes += origin_bytes(&origin);
    turn.run.origin = Some(Box::new(origin));
    if !behaviour::knows(submitted.behaviour) {
        turn.halt(Halt::UnknownBehaviour(submitted.behaviour));
    } else if submitted.workflow != turn.run.plan.workflow {
        turn.halt(Halt::PlanMismatch);
    } else if signed(submitted) != turn.run.key.is_some() {
        turn.halt(Halt::KeyMismatch);
    }
    if turn.run.halt.is_some() {
        return Ok(());
    }
    let plan = turn.plan();
    let Some(kept) = kept(&plan, submitted) else {
        turn.halt(Halt::KeptMismatch);
        return Ok(());
    };
    if let Some(due) = turn.run.deadline() {
        turn.commands.push(Command::StartTimer { timer: TimerId::Deadline, due });
    }
    // What a step needs stands before it: what is kept of that has ended when its turn comes.
    for (step, planned) in plan.steps.iter().enumerate() {
        match kept.get(step).copied().flatten() {
            Some(outcome) => keep(turn, step, outcome),
            None if planned.needs.is_empty() && planned.phase == Phase::Work => turn.ready(step),
            None => {}
        }
    }
    Ok(())
}

/// What is kept of each step of the plan; `None` if it does not fit the plan: a step that is not there, or is there twice,
/// one of which something that it needs is not kept, or that came to something else than such a step comes to.
fn kept<'s>(plan: &Plan, submitted: &'s RunSubmitted) -> Option<Vec<Option<&'s KeptOutcome>>> {
    let mut kept = vec![None; plan.steps.len()];
    if submitted.behaviour < behaviour::KEPT {
        return Some(kept);
    }
    for Kept { step, outcome } in &submitted.kept {
        let at = plan.steps.iter().position(|s| s.id == *step)?;
        let is_foreach = plan.steps.get(at)?.foreach.is_some();
        let fits = match outcome {
            KeptOutcome::Skipped => true,
            KeptOutcome::Output(_) => !is_foreach,
            KeptOutcome::Members { outputs, total } => {
                let length = outputs.value.as_deref().and_then(Value::as_array).map(Vec::len);
                is_foreach && length == usize::try_from(*total).ok()
            }
        };
        let place = kept.get_mut(at)?;
        if !fits || place.replace(outcome).is_some() {
            return None;
        }
    }
    let whole = |(step, planned): (StepIndex, &crate::plan::PlanStep)| {
        kept.get(step).is_some_and(Option::is_none)
            || planned.needs.iter().all(|need| kept.get(*need).is_some_and(Option::is_some))
    };
    plan.steps.iter().enumerate().all(whole).then_some(kept)
}

/// Ends a step as it ended in another run.
fn keep(turn: &mut Turn<'_>, step: StepIndex, outcome: &KeptOutcome) {
    match outcome {
        KeptOutcome::Skipped => turn.end_skipped(step),
        KeptOutcome::Output(output) => turn.end_single(step, output.clone(), 0),
        KeptOutcome::Members { outputs, total } => turn.end_members(step, outputs.clone(), *total),
    }
}

/// Whether the reports of the run need tokens.
fn signed(submitted: &RunSubmitted) -> bool {
    submitted.behaviour >= behaviour::TOKENS && submitted.signing_key.is_some()
}

/// What a submission weighs.
pub(crate) fn origin_bytes(origin: &Origin) -> usize {
    let labels: usize = origin.labels.iter().map(|(k, v)| 2 * size_of::<String>() + k.len() + v.len()).sum();
    let text = |t: &Option<String>| t.as_ref().map_or(0, String::len);
    size_of::<Origin>()
        + payload_bytes(&origin.input)
        + labels
        + text(&origin.key)
        + text(&origin.traceparent)
        + text(&origin.person)
        + origin.fairness.as_ref().map_or(0, |it| it.key.len())
        + origin.principal.0.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn when_decides_and_skipped_steps_give_null() {
        let plan = json!({"steps": [
            {"id": "a", "when": "input.go"}, {"id": "b", "needs": ["a"], "with": "${steps.a.output}"},
            {"id": "each", "when": "input.go", "foreach": "input.list"},
            {"id": "c", "needs": ["each"], "with": ["${steps.each.outputs}", "${steps.each.status}"]},
        ]});
        let script = r#"
            0 submit {"go": false}
            1 ok a 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit {"go": false}
          dispatch b#1 null
          dispatch c#1 [null,"SKIPPED"]
        > 1 ok a 1
          ignored: already_decided
        = RUNNING
        "#);
    }

    #[test]
    fn what_a_fork_keeps_is_not_done_again() {
        let plan = json!({"steps": [
            {"id": "a"}, {"id": "each", "foreach": "input"}, {"id": "no", "needs": ["a"]},
            {"id": "b", "needs": ["a", "each", "no"],
             "with": ["${steps.a.output}", "${steps.each.outputs}", "${steps.no.status}"]},
            {"id": "c", "needs": ["b"], "with": "${steps.b.output}"},
        ], "output": "${steps.c.output}"});
        let script = r#"
            0 fork [1, 2] {"a": 7, "each": [8, 9], "no": "skipped"}
            1 ok a 1 1
            2 ok each:0 1 cost=1 1
            3 ok b 1 "new"
            4 ok c 1 "end""#;
        insta::assert_snapshot!(check(&plan, script));
    }

    #[test]
    fn a_fork_that_keeps_everything_is_done_and_one_that_does_not_fit_is_halted() {
        let plan = json!({"steps": [
            {"id": "a"}, {"id": "each", "needs": ["a"], "foreach": "input"},
        ], "output": "${steps.each.outputs}"});
        let done = check(&plan, r#"0 fork [1] {"a": 1, "each": [5]}"#);
        assert!(done.contains("finish COMPLETED decided at 1 [5]"), "{done}");
        for misfit in [r#"{"each": [5]}"#, r#"{"a": 1, "each": 5}"#, r#"{"a": 1, "x": 1}"#, r#"{"a": [1]}"#] {
            let told = check(&plan, &format!("0 fork [1] {misfit}"));
            assert!(told.contains("= STALLED\n  K0307"), "{told}");
        }
    }

    /// No release wrote what is kept into a run below: it decides as if nothing were.
    #[test]
    fn an_older_behaviour_keeps_nothing() {
        let plan = json!({"steps": [{"id": "a"}]});
        assert!(check(&plan, "0 submit-1 {}").contains("dispatch a#1"));
    }

    #[test]
    fn an_empty_list_is_done_and_an_empty_plan_too() {
        let plan = json!({"steps": [{"id": "each", "foreach": "input"}], "output": "${steps.each.outputs}"});
        let script = r#"
            0 submit []"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit []
          finish COMPLETED decided at 1 []
        = COMPLETED
        "#);
    }

    #[test]
    fn a_list_must_be_one() {
        let plan = json!({"steps": [{"id": "a", "foreach": "input"}]});
        let script = r#"
            0 submit {"no": "list"}
            1 ?"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit {"no": "list"}
        > 1 ?
        = STALLED
          K0303: step `a`: `foreach`: it is not a list
        "#);
    }
}
