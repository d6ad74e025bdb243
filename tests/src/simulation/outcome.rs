//! Whether a run ended as it had to: what its agents return is known, so is what it returns.

use kapelle_engine::{OnGiveUp, RunStatus, StepStatus};
use kapelle_types::{RunId, StepRef};
use serde_json::Value;

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
            RunStatus::Failed => fold.slots.asked_to_end || fails_by_itself(fold),
            RunStatus::Canceled | RunStatus::Terminated => fold.slots.asked_to_end,
            RunStatus::TimedOut => fold.slots.deadline().is_some_and(|due| due <= clock.plus(EARLY)),
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
            match (step.status, step.members) {
                (StepStatus::Skipped, _) => got.is_null(),
                (StepStatus::Succeeded, None) => *got == self.agents.output(id, &StepRef::whole(step.id.clone())),
                (StepStatus::Succeeded, Some(members)) => {
                    let member = |i: u32| self.agents.output(id, &StepRef::member(step.id.clone(), i));
                    let list = got.as_array().map_or(&[][..], |a| a);
                    list.len() == members.total as usize && (0..).zip(list).all(|(i, v)| *v == member(i))
                }
                _ => false,
            }
        })
    }
}

/// How early a deadline may count.
const EARLY: std::time::Duration = std::time::Duration::from_millis(251);

fn fails_by_itself(fold: &Fold) -> bool {
    let may_fail = fold.run.plan().steps.iter().any(|s| s.on_give_up == OnGiveUp::Fail);
    may_fail
        && (fold.slots.some_exhausted()
            || fold.slots.some_spent()
            || fold.run.plan().steps.iter().any(|s| s.retry.total.is_some()))
}
