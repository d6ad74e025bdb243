//! `RunSubmitted`: the run begins. Steps that need nothing start, and the deadline's timer is set.
//!
//! A run whose plan is not the one that was submitted, or whose behaviour this engine does not know, is halted with a
//! reason instead: the coordinator checks both before, this is the last line.

use crate::behaviour;
use crate::command::{Command, TimerId};
use crate::entry::{Entry, RunSubmitted};
use crate::ignored::Ignored;
use crate::state::{Halt, Origin};
use crate::turn::Turn;
use crate::weight::payload_bytes;

pub(super) fn apply(turn: &mut Turn<'_>, entry: &Entry, submitted: &RunSubmitted) -> Result<(), Ignored> {
    let origin = Origin {
        input: submitted.input.clone(),
        key: submitted.key.clone(),
        labels: submitted.labels.clone(),
        principal: entry.principal.clone(),
        traceparent: entry.traceparent.clone(),
        at: turn.stamp.at,
        behaviour: submitted.behaviour,
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
    if let Some(due) = turn.run.deadline() {
        turn.commands.push(Command::StartTimer { timer: TimerId::Deadline, due });
    }
    let plan = turn.plan();
    for (step, planned) in plan.steps.iter().enumerate() {
        if planned.needs.is_empty() {
            turn.ready(step);
        }
    }
    Ok(())
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
