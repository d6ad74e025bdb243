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
