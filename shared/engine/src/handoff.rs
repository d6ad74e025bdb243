//! Handing on: what an agent gave names the agent that goes on with its step, among those that may.
//!
//! ```text
//!   success ──▶ `next` is null ───────────────────▶ Done: the output is the step's
//!           ├─▶ it names one of `to` ─────────────▶ Due, the next round: that agent's attempts, retries, limits and contracts
//!           ├─▶ the same, `max` times before ─────▶ GaveUp
//!           ├─▶ it names anybody else ────────────▶ a failure of the attempt, which may be retried
//!           └─▶ it cannot be evaluated ───────────▶ Broken
//! ```
//!
//! Whom a step may be handed to is part of the plan: agent versions that were pinned when the run was submitted. Nothing that
//! an agent says brings in another one.

use kapelle_expression::Error;
use kapelle_types::{Code, Payload};
use serde_json::Value;

use crate::entry::Failure;
use crate::plan::{ActorIndex, Handoff, PlanStep};
use crate::scope::View;
use crate::state::{Place, Run, Slot};
use crate::turn::Turn;

/// Whom an output names.
enum Next {
    Nobody,
    Actor(ActorIndex),
    Stranger,
}

/// Why an output may not be what it is: it names somebody whom the step may not be handed to. Another attempt may do better.
/// The message does not repeat the value.
pub(crate) fn refused(run: &Run, place: Place, output: &Payload) -> Option<Failure> {
    let planned = run.plan.steps.get(place.step)?;
    let handoff = planned.handoff.as_ref()?;
    match next(run, place, planned, handoff, output) {
        Ok(Next::Stranger) => Some(stranger(handoff)),
        Ok(Next::Nobody | Next::Actor(_)) | Err(_) => None,
    }
}

fn next(run: &Run, place: Place, planned: &PlanStep, handoff: &Handoff, output: &Payload) -> Result<Next, Error> {
    let named = handoff.next.evaluate(&View::from(run, place).with_output(output))?;
    Ok(match named.value.as_deref() {
        Some(Value::Null) => Next::Nobody,
        Some(Value::String(name)) => handoff.named(planned.agent(), name).map_or(Next::Stranger, Next::Actor),
        Some(_) | None => Next::Stranger,
    })
}

fn stranger(handoff: &Handoff) -> Failure {
    let names: Vec<_> = handoff.names().map(|name| format!("`{name}`")).collect();
    let message = format!("`handoff.next` names nobody whom the step may be handed to: {}, or null", names.join(", "));
    Failure { retryable: true, ..Failure::of_run(Code::HANDOFF_STRANGER, message) }
}

impl Turn<'_> {
    /// Whether another agent goes on with a step that has just succeeded; or nobody does, and it has not.
    pub(crate) fn hands_on(&mut self, place: Place, planned: &PlanStep, handoff: &Handoff, output: &Payload) -> bool {
        match next(self.run, place, planned, handoff, output) {
            Ok(Next::Nobody) => return false,
            Err(error) => self.break_slot(place, "handoff.next", &error),
            Ok(Next::Actor(_)) if self.run.slot(place).map_or(0, Slot::round) >= handoff.max => {
                let message = format!("the step was handed on {} times, and its agents name another one", handoff.max);
                self.end_rounds(place, planned, &Failure::of_run(Code::HANDOFF_MAX, message));
            }
            Ok(Next::Actor(actor)) => {
                self.run.hand_on(place, actor);
                self.begin_round(place, output);
            }
            Ok(Next::Stranger) => self.end_rounds(place, planned, &stranger(handoff)),
        }
        true
    }
}

#[cfg(test)]
mod tests;
