//! A second opinion on joins. Which steps succeed first depends on the order of reports, so nothing is foretold: what was
//! recorded has to fit together.

use std::collections::BTreeSet;
use std::sync::Arc;

use kapelle_engine::{OnGiveUp, Plan, PlanStep, Run, RunStatus, StepStatus};
use kapelle_types::StepId;

use super::slots::{Wrong, hold};

/// What joins did not wait for.
pub(crate) struct Joins {
    plan: Arc<Plan>,
    taken: BTreeSet<StepId>,
}

/// The steps of a run as people see them.
struct Seen<'r> {
    plan: &'r Plan,
    steps: Vec<(&'r StepId, StepStatus)>,
}

impl Joins {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        Self { plan: Arc::clone(plan), taken: BTreeSet::new() }
    }

    pub(crate) fn is_taken(&self, step: &StepId) -> bool {
        self.taken.contains(step)
    }

    /// Whether some join can never begin, so that a run fails if it wants that.
    pub(crate) fn some_unmet(&self, run: &Run) -> bool {
        let seen = Seen::of(&self.plan, run);
        self.plan.steps.iter().any(|planned| {
            planned.join.as_ref().is_some_and(|join| {
                seen.succeeded(planned) < join.quorum && planned.needs.iter().all(|need| seen.has_ended(*need))
            })
        })
    }

    /// Judges what an entry took back; says what that is.
    pub(crate) fn look(&mut self, run: &Run) -> Result<Vec<StepId>, Wrong> {
        // A run that ends, or is closing, ends every step. One that is COMPLETED, or is to be, has nothing left to end.
        let ends = run.closing().or_else(|| run.outcome().map(|outcome| outcome.status));
        if ends.is_some_and(|status| status != RunStatus::Completed) {
            return Ok(Vec::new());
        }
        let plan = Arc::clone(&self.plan);
        let seen = Seen::of(&plan, run);
        let canceled = |(_, status): &&(&StepId, StepStatus)| *status == StepStatus::Canceled;
        let new: Vec<StepId> = seen.steps.iter().filter(canceled).map(|(id, _)| (*id).clone()).collect();
        let new: Vec<StepId> = new.into_iter().filter(|id| self.taken.insert(id.clone())).collect();
        for id in &new {
            let wanted = seen.dependants(id).find(|it| !seen.lets_go(it, id) && !it.continues());
            hold("only_what_nobody_waits_for_is_taken_back", wanted.is_none(), || {
                format!("{id} is wanted by {:?}", wanted.map(|it| &it.id))
            })?;
            let cause = seen.dependants(id).any(|it| seen.lets_go(it, id) && !seen.is_over(it));
            hold("only_joins_take_back", cause, || id.to_string())?;
        }
        for planned in plan.steps.iter().filter(|planned| planned.join.is_some()) {
            self.look_at(planned, &seen)?;
        }
        Ok(new)
    }

    fn look_at(&self, planned: &PlanStep, seen: &Seen<'_>) -> Result<(), Wrong> {
        let Some(join) = &planned.join else { return Ok(()) };
        let enough = seen.succeeded(planned) >= join.quorum;
        let others = planned.needs.iter().filter(|need| !join.of.contains(need)).all(|need| seen.has_ended(*need));
        let waits = seen.status(&planned.id) == Some(StepStatus::Waiting);
        hold("a_join_begins_when_enough_succeeded", !(waits && enough && others), || planned.id.to_string())?;
        let at_work = [StepStatus::Running, StepStatus::Awaiting, StepStatus::Retrying];
        let works = seen.status(&planned.id).is_some_and(|status| at_work.contains(&status));
        hold("a_join_begins_no_earlier", enough || !works, || planned.id.to_string())?;
        let left = join.of.iter().find(|need| !seen.has_ended(**need));
        // One that is held by a pause takes nothing back yet.
        let begun = !waits && !matches!(seen.status(&planned.id), Some(StepStatus::Pending | StepStatus::Canceled));
        hold("a_join_that_began_waits_for_nothing", !begun || left.is_none(), || {
            format!("{} and {:?}", planned.id, left.and_then(|at| self.plan.steps.get(*at)).map(|it| &it.id))
        })
    }
}

impl<'r> Seen<'r> {
    fn of(plan: &'r Plan, run: &'r Run) -> Self {
        Self { plan, steps: run.steps().map(|step| (step.id, step.status)).collect() }
    }

    fn status(&self, id: &StepId) -> Option<StepStatus> {
        self.steps.iter().find(|(known, _)| *known == id).map(|(_, status)| *status)
    }

    fn has_ended(&self, step: usize) -> bool {
        self.plan.steps.get(step).is_some_and(|planned| match self.status(&planned.id) {
            Some(StepStatus::Succeeded | StepStatus::Skipped | StepStatus::Canceled) => true,
            // Otherwise it holds its run up, and somebody may retry it.
            Some(StepStatus::GaveUp) => planned.on_give_up == OnGiveUp::Continue,
            _ => false,
        })
    }

    /// How many of what a step joins have succeeded.
    fn succeeded(&self, planned: &PlanStep) -> usize {
        let ids = planned.join.iter().flat_map(|join| &join.of).filter_map(|at| self.plan.steps.get(*at));
        ids.filter(|it| self.status(&it.id) == Some(StepStatus::Succeeded)).count()
    }

    fn dependants(&self, id: &StepId) -> impl Iterator<Item = &PlanStep> {
        let at = self.plan.steps.iter().position(|it| it.id == *id);
        self.plan.steps.iter().filter(move |it| at.is_some_and(|at| it.needs.contains(&at)))
    }

    /// Whether a step does not wait for that one any more: it began without it, ended, or was taken back itself.
    fn lets_go(&self, planned: &PlanStep, of: &StepId) -> bool {
        let joins = planned
            .join
            .as_ref()
            .is_some_and(|join| join.of.iter().any(|at| self.plan.steps.get(*at).is_some_and(|it| it.id == *of)));
        let begun = self.status(&planned.id) != Some(StepStatus::Waiting);
        (joins && begun && planned.join.as_ref().is_some_and(|join| self.succeeded(planned) >= join.quorum))
            || self.is_over(planned)
            || self.status(&planned.id) == Some(StepStatus::Canceled)
    }

    fn is_over(&self, planned: &PlanStep) -> bool {
        planned.join.is_none() && matches!(self.status(&planned.id), Some(StepStatus::Succeeded | StepStatus::Skipped))
    }
}
