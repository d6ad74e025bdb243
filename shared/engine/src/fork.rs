//! What a fork keeps of another run: everything that does not depend on the step that it begins at.
//!
//! ```text
//!   inventory ──▶ review ──▶ score ──▶ sbom         fork from `score`: inventory, review and notice are kept,
//!        └──────▶ notice                            score and sbom are done
//! ```
//!
//! A step that has not ended in the other run keeps nothing and is done, unless the fork's first step needs it: then there is
//! nothing to begin from.

use kapelle_types::StepId;

use crate::entry::{Kept, KeptOutcome};
use crate::plan::{Phase, Plan, PlanStep};
use crate::state::{Run, StepState};

/// Why a run cannot be forked there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotKept {
    /// The plan has no such step.
    UnknownStep,
    /// The step is needed and has not ended in the other run.
    NotEnded(StepId),
    /// The step is not the one that it was.
    Differs(StepId),
    /// What the step returned cannot be fetched.
    Gone(StepId),
}

/// What a run of `plan` that begins at a step keeps of another one. `same` says whether a step of the plan is the very step
/// that the other run had.
///
/// # Errors
/// See [`NotKept`].
pub fn keep(run: &Run, plan: &Plan, from: &StepId, same: impl Fn(&StepId) -> bool) -> Result<Vec<Kept>, NotKept> {
    let first = plan.steps.iter().position(|step| step.id == *from).ok_or(NotKept::UnknownStep)?;
    let (depends, needed) = (depending_on(plan, first), needed_by(plan, first));
    let mut kept = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        // How the other run closed is no part of its work.
        if depends.get(at).copied().unwrap_or(true) || step.phase != Phase::Work {
            continue;
        }
        match run.find(&step.id).and_then(|there| run.state(there)).and_then(outcome) {
            Some(_) if !same(&step.id) => return Err(NotKept::Differs(step.id.clone())),
            Some(outcome) => kept.push(at_hand(step, outcome)?),
            None if needed.get(at).copied().unwrap_or(false) => return Err(NotKept::NotEnded(step.id.clone())),
            None => {}
        }
    }
    Ok(kept)
}

/// The step itself and everything that needs it, however far behind: needs stand before those who need them.
fn depending_on(plan: &Plan, first: usize) -> Vec<bool> {
    let mut depends = vec![false; plan.steps.len()];
    for (at, step) in plan.steps.iter().enumerate() {
        depends[at] = at == first || step.needs.iter().any(|need| depends[*need]);
    }
    depends
}

/// Everything that the step needs, however far before it.
fn needed_by(plan: &Plan, first: usize) -> Vec<bool> {
    let mut needed = vec![false; plan.steps.len()];
    for (at, step) in plan.steps.iter().enumerate().rev() {
        if at == first || needed[at] {
            step.needs.iter().for_each(|need| needed[*need] = true);
        }
    }
    needed
}

/// What a step came to; `None` if it has not ended.
fn outcome(state: &StepState) -> Option<KeptOutcome> {
    match state {
        StepState::Skipped | StepState::Abandoned { .. } => Some(KeptOutcome::Skipped),
        StepState::Succeeded { output, members: None, .. } => Some(KeptOutcome::Output(output.clone())),
        StepState::Succeeded { output, members: Some(total), .. } => {
            Some(KeptOutcome::Members { outputs: output.clone(), total: *total })
        }
        // What was gone on without may come to something this time.
        StepState::PassedOver { .. } => None,
        StepState::Waiting | StepState::Ready | StepState::Broken(_) | StepState::Single(_) | StepState::FanOut(_) => {
            None
        }
    }
}

fn at_hand(step: &PlanStep, outcome: KeptOutcome) -> Result<Kept, NotKept> {
    let mut kept = Kept { step: step.id.clone(), outcome };
    match kept.payload_mut() {
        Some(payload) if payload.value.is_none() => Err(NotKept::Gone(kept.step)),
        _ => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kapelle_types::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{entry, fresh, plan};
    use crate::{Stamp, apply};

    fn spec() -> Value {
        json!({"steps": [
            {"id": "inventory"}, {"id": "notice", "needs": ["inventory"]},
            {"id": "review", "needs": ["inventory"], "foreach": "input"},
            {"id": "score", "needs": ["review"], "when": "size(steps.review.outputs) > 9"},
            {"id": "sbom", "needs": ["score"]},
        ]})
    }

    /// What is kept of a run with these entries, in short.
    fn told(entries: &[&str], from: &str, same: impl Fn(&StepId) -> bool) -> Result<Vec<String>, NotKept> {
        let mut run = fresh(Arc::new(plan(&spec())));
        for (seq, text) in (1..).zip(entries) {
            let (entry, channel) = entry(text);
            let _ = apply(&mut run, &entry, channel, Stamp { seq, at: Timestamp::default() });
        }
        let kept = keep(&run, &plan(&spec()), &from.parse().unwrap(), same)?;
        let line = |kept: &Kept| match &kept.outcome {
            KeptOutcome::Skipped => format!("{} skipped", kept.step),
            KeptOutcome::Output(output) => format!("{} {}", kept.step, output.value.as_ref().unwrap()),
            KeptOutcome::Members { outputs, total } => {
                format!("{} {} of {total}", kept.step, outputs.value.as_ref().unwrap())
            }
        };
        Ok(kept.iter().map(line).collect())
    }

    const LOG: [&str; 5] =
        ["submit [1, 2]", "ok inventory 1 7", "ok review:1 1 9", "ok review:0 1 8", "fail sbom 1 x final"];

    #[test]
    fn everything_that_does_not_depend_on_the_step_is_kept() {
        let kept = |from| told(&LOG, from, |_| true).map(|kept| kept.join(", "));
        assert_eq!(kept("sbom").as_deref(), Ok("inventory 7, review [8,9] of 2, score skipped"));
        assert_eq!(kept("score").as_deref(), Ok("inventory 7, review [8,9] of 2"));
        // What has not ended keeps nothing, and is done again.
        assert_eq!(kept("review").as_deref(), Ok("inventory 7"));
        assert_eq!(kept("inventory").as_deref(), Ok(""));
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let id = |text: &str| text.parse::<StepId>().unwrap();
        assert_eq!(told(&LOG, "nowhere", |_| true), Err(NotKept::UnknownStep));
        assert_eq!(told(&LOG[..3], "score", |_| true), Err(NotKept::NotEnded(id("review"))));
        assert_eq!(told(&LOG, "score", |step| step.as_str() != "review"), Err(NotKept::Differs(id("review"))));
        let gone = ["submit [1, 2]", "ok inventory 1 missing"];
        assert_eq!(told(&gone, "notice", |_| true), Err(NotKept::Gone(id("inventory"))));
    }
}
