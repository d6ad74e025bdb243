//! Whether a run ended as it had to: what its agents return is known, so is what it returns.

use kapelle_engine::{Act, OnGiveUp, Phase, PlanStep, RunStatus, StepStatus};
use kapelle_types::{RunId, StepRef};
use serde_json::Value;

use super::client::signalled;
use super::oracle::Fold;
use super::world::World;

impl World {
    /// Judges the outcome of a run that was just decided.
    pub(crate) fn check_outcome(&mut self, id: RunId) {
        let clock = self.clock();
        let Some(fold) = self.oracle.get(id) else { return };
        let Some(outcome) = fold.run.outcome() else { return };
        let right = match outcome.status {
            RunStatus::Completed => fold.slots.all_done() && self.is_output(id, fold),
            RunStatus::Failed => fold.slots.asked_to_end || fails_by_itself(fold) || closed_too_late(fold),
            RunStatus::Canceled | RunStatus::Terminated => fold.slots.asked_to_end,
            RunStatus::TimedOut => fold.slots.work_deadline().is_some_and(|due| due <= clock.plus(EARLY)),
            RunStatus::Pending | RunStatus::Running | RunStatus::Paused | RunStatus::Waiting | RunStatus::Stalled => {
                false
            }
        };
        let detail = format!("{id}: {outcome:?}");
        self.hold("a_run_ends_as_its_entries_say", right, || detail);
    }

    /// The output names every step's own, members in the order of their items, skipped steps as null.
    fn is_output(&self, id: RunId, fold: &Fold) -> bool {
        let value = fold.run.outcome().and_then(|o| o.output.as_ref()).and_then(|p| p.value.as_deref());
        fold.run.steps().all(|step| {
            let got = value.and_then(|v| v.get(step.id.as_str())).unwrap_or(&Value::Null);
            let Some(planned) = fold.run.plan().steps.iter().find(|it| it.id == *step.id) else { return false };
            if planned.phase != Phase::Work {
                return true; // nothing that is done last is part of the output
            }
            let gives = |place: StepRef, got: &Value| self.gives(id, planned, &place, got);
            match (step.status, step.members) {
                (StepStatus::Skipped, _) => got.is_null(),
                (StepStatus::GaveUp, _) => got.is_null() && planned.on_give_up == OnGiveUp::Continue,
                (StepStatus::Succeeded, None) => gives(StepRef::whole(step.id.clone()), got),
                (StepStatus::Succeeded, Some(members)) => {
                    let list = got.as_array().map_or(&[][..], |a| a);
                    let member = |i: u32, got: &Value| {
                        let place = StepRef::member(step.id.clone(), i);
                        gives(place, got) || (got.is_null() && planned.on_give_up == OnGiveUp::Continue)
                    };
                    list.len() == members.total as usize && (0..).zip(list).all(|(i, v)| member(i, v))
                }
                _ => false,
            }
        })
    }
}

impl World {
    /// Whether a step that ended well gives this.
    fn gives(&self, run: RunId, planned: &PlanStep, place: &StepRef, got: &Value) -> bool {
        match &planned.act {
            Act::Agent(_) => *got == self.agents.output(run, place),
            Act::Value => got == planned.with.source(),
            Act::Switch(cases) => cases.iter().any(|case| got == case.name.as_str()),
            Act::Wait(_) | Act::Emit(_) | Act::Workflow(_) => got.is_null(),
            Act::Signal(_) => *got == signalled(),
            Act::Approval(_) => got["decision"].is_string(),
        }
    }
}

/// Whether a run that would have been COMPLETED was not done in time with what it does last.
fn closed_too_late(fold: &Fold) -> bool {
    fold.run.outcome().and_then(|it| it.error.as_ref()).is_some_and(|error| error.code == "K0322")
}

/// How early a deadline may count.
const EARLY: std::time::Duration = std::time::Duration::from_millis(251);

fn fails_by_itself(fold: &Fold) -> bool {
    let may_fail = fold.run.plan().steps.iter().any(|s| s.on_give_up == OnGiveUp::Fail);
    may_fail
        && (fold.slots.some_exhausted()
            || fold.slots.some_spent()
            || fold.run.plan().steps.iter().any(|s| s.retry.total.is_some() || matches!(s.act, Act::Signal(_))))
}
