//! Whether a run ended as it had to: what its agents return is known, so is what it returns.

use std::collections::BTreeMap;

use kapelle_engine::{Act, OnGiveUp, Phase, PlanStep, RunStatus, StepStatus};
use kapelle_types::{RunId, StepRef, TaskId, Timestamp};
use serde_json::Value;

use super::client::signalled;
use super::family::gives_below;
use super::oracle::Fold;
use super::slots::has_total;
use super::world::World;

/// Whoever judges how runs ended, by all that is known of them.
pub(crate) struct Judge<'a> {
    pub(crate) folds: &'a BTreeMap<RunId, Fold>,
    /// What an agent returns that ends well.
    pub(crate) outputs: &'a dyn Fn(RunId, &StepRef) -> Value,
}

impl World {
    /// Judges the outcome of a run that was just decided.
    pub(crate) fn check_outcome(&mut self, id: RunId) {
        let outputs = |run, place: &StepRef| self.agents.output(run, place);
        let judge = Judge { folds: self.oracle.all(), outputs: &outputs };
        let right = judge.is_right(id, self.clock());
        let detail = format!("{id}: {:?}", self.oracle.get(id).and_then(|fold| fold.run.outcome()));
        self.hold("a_run_ends_as_its_entries_say", right, || detail);
    }
}

impl Judge<'_> {
    /// Whether a run that was decided by now was decided as it had to be.
    pub(crate) fn is_right(&self, id: RunId, now: Timestamp) -> bool {
        let Some(fold) = self.folds.get(&id) else { return false };
        let Some(outcome) = fold.run.outcome() else { return false };
        match outcome.status {
            RunStatus::Completed => {
                fold.slots.all_done() && fold.slots.all_agreed(&fold.run) && self.is_output(id, fold)
            }
            RunStatus::Failed => fold.slots.asked_to_end || fails_by_itself(fold) || closed_too_late(fold),
            RunStatus::Canceled | RunStatus::Terminated => fold.slots.asked_to_end,
            RunStatus::TimedOut => fold.slots.work_deadline().is_some_and(|due| due <= now.plus(EARLY)),
            RunStatus::Pending | RunStatus::Running | RunStatus::Paused | RunStatus::Waiting | RunStatus::Stalled => {
                false
            }
        }
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
            let gives = |place: StepRef, got: &Value| self.gives(id, fold, planned, &place, got);
            match (step.status, step.members) {
                (StepStatus::Skipped, _) => got.is_null(),
                (StepStatus::Canceled, _) => got.is_null() && fold.slots.joins.is_taken(step.id),
                (StepStatus::GaveUp, _) => got.is_null() && planned.on_give_up == OnGiveUp::Continue,
                (StepStatus::Succeeded, None) => gives(StepRef::whole(step.id.clone()), got),
                (StepStatus::Succeeded, Some(members)) => {
                    let list = got.as_array().map_or(&[][..], |a| a);
                    let may_miss = match planned.max_failures {
                        _ if planned.on_give_up == OnGiveUp::Continue => list.len(),
                        Some(max) => max.of(members.total) as usize,
                        None => 0,
                    };
                    let mut misses = (0..).zip(list).filter(|(i, v)| !gives(StepRef::member(step.id.clone(), *i), v));
                    list.len() == members.total as usize
                        && are_all(fold, planned, members.total)
                        && misses.by_ref().take(may_miss).all(|(_, v)| v.is_null())
                        && misses.next().is_none()
                }
                _ => false,
            }
        })
    }

    /// Whether a step that ended well gives this.
    fn gives(&self, run: RunId, fold: &Fold, planned: &PlanStep, place: &StepRef, got: &Value) -> bool {
        match &planned.act {
            Act::Agent(_) => *got == (self.outputs)(run, place),
            Act::Value => got == planned.with.source(),
            Act::Switch(cases) => cases.iter().any(|case| got == case.name.as_str()),
            Act::Wait(_) | Act::Emit(_) => got.is_null(),
            Act::Workflow(act) => {
                let task = |attempt| TaskId { step: place.clone(), attempt };
                gives_below(self.folds, run, (1..=fold.slots.attempts(place)).map(task), act.bond, got)
            }
            Act::Signal(_) => *got == signalled(),
            Act::Approval(_) => got["decision"].is_string(),
        }
    }
}

/// Whether there was a member for each item of the list, or for as many as one gets.
fn are_all(fold: &Fold, planned: &PlanStep, total: u32) -> bool {
    let Some(list) = planned.foreach.as_ref().filter(|_| !fold.slots.is_kept(&planned.id)) else {
        return true; // another run saw to that
    };
    let outputs = fold.run.outcome().and_then(|outcome| outcome.output.as_ref()?.value.as_deref());
    let list = match list.source().strip_prefix("steps.").and_then(|rest| rest.strip_suffix(".output.list")) {
        Some(step) => outputs.map(|outputs| &outputs[step]["list"]),
        None => Some(&fold.input["list"]),
    };
    let items = list.and_then(Value::as_array).map_or(0, Vec::len);
    items.div_ceil(planned.batch.map_or(1, |size| size as usize)) == total as usize
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
            || fold.slots.joins.some_unmet(&fold.run)
            || fold.slots.costs.some_spent()
            || fold.run.plan().steps.iter().any(|s| has_total(s) || matches!(s.act, Act::Signal(_))))
}
