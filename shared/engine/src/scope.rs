//! What a run's expressions see: its input, its steps' outputs and states, and a member's item.

use std::sync::Arc;

use kapelle_expression::Scope;
use kapelle_types::{Payload, StepId, Timestamp};
use serde_json::Value;

use crate::plan::{Phase, PlanStep, StepIndex};
use crate::state::{Place, Run, Slot, StepState, StepStatus, status};

/// A view of a run from one of its steps or members.
pub(crate) struct View<'r> {
    run: &'r Run,
    /// The step or member that looks; none at the run's end.
    from: Option<Place>,
    /// What it has just given.
    given: Option<&'r Payload>,
    item: Option<(u32, Arc<Value>)>,
}

impl<'r> View<'r> {
    /// From a whole step, or from the run's end.
    pub(crate) const fn of_run(run: &'r Run) -> Self {
        Self { run, from: None, given: None, item: None }
    }

    /// From a step, or from a member, which sees its item.
    pub(crate) fn from(run: &'r Run, place: Place) -> Self {
        let of_member = |index: u32| match run.state(place.step) {
            Some(StepState::FanOut(fan)) => fan.items.get(index as usize).cloned().flatten().map(|item| (index, item)),
            _ => None,
        };
        Self { run, from: Some(place), given: None, item: place.item.and_then(of_member) }
    }

    /// The same when a round has given this.
    pub(crate) fn with_output(self, output: &'r Payload) -> Self {
        Self { given: Some(output), ..self }
    }

    /// The slot that looks, if its step may be done in rounds.
    fn in_rounds(&self) -> Option<&'r Slot> {
        let from = self.from.filter(|from| self.run.plan.steps.get(from.step).is_some_and(PlanStep::has_rounds))?;
        self.run.slot(from)
    }

    /// The slot that looks, if its step was handed on.
    fn handed(&self) -> Option<&'r Slot> {
        let handed_on = |from: Place| self.run.plan.steps.get(from.step).is_some_and(|it| it.handoff.is_some());
        self.in_rounds().filter(|slot| slot.round() > 0 && self.from.is_some_and(handed_on))
    }

    fn ended(&self, step: &StepId, foreach: bool) -> Option<Payload> {
        let index = self.run.find(step)?;
        match self.run.state(index)? {
            _ if self.is_hidden(index) => Some(Payload::null()),
            StepState::Skipped | StepState::Abandoned { .. } | StepState::PassedOver { .. } => Some(Payload::null()),
            StepState::Succeeded { output, members, .. } if members.is_some() == foreach => Some(output.clone()),
            _ => self.run.is_off(index).then(Payload::null),
        }
    }

    /// Whether a step succeeded too late to be seen from here.
    fn is_hidden(&self, step: StepIndex) -> bool {
        let late = self.run.closing.as_ref().is_some_and(|closing| closing.late.contains(&step));
        let undone_by = |from: Place| self.run.plan.steps.get(from.step).map(|planned| planned.phase);
        late && self.from.and_then(undone_by) != Some(Phase::Compensation(step))
    }
}

impl Scope for View<'_> {
    fn input(&self) -> Payload {
        self.run.input().cloned().unwrap_or_else(Payload::null)
    }

    fn output(&self, step: &StepId) -> Option<Payload> {
        self.ended(step, false)
    }

    fn outputs(&self, step: &StepId) -> Option<Payload> {
        self.ended(step, true)
    }

    fn status(&self, step: &StepId) -> Option<&'static str> {
        let index = self.run.find(step)?;
        Some(if self.is_hidden(index) { StepStatus::Canceled } else { status(self.run, index) }.name())
    }

    fn item(&self) -> Option<Payload> {
        self.item.as_ref().map(|(_, item)| Payload { value: Some(Arc::clone(item)), stored: None })
    }

    fn index(&self) -> Option<u32> {
        self.item.as_ref().map(|(index, _)| *index)
    }

    fn given(&self) -> Option<Payload> {
        // Whoever a step was handed to sees what whoever handed it on has given.
        self.given.cloned().or_else(|| self.handed().map(Slot::last))
    }

    fn last(&self) -> Option<Payload> {
        self.in_rounds().map(Slot::last)
    }

    fn round(&self) -> Option<u32> {
        self.in_rounds().map(Slot::round)
    }

    fn error(&self) -> Option<(&str, &str)> {
        let error = self.run.closing.as_ref()?.error.as_ref()?;
        Some((&error.code, &error.message))
    }

    fn run_id(&self) -> String {
        self.run.id().to_string()
    }

    fn started_at(&self) -> Timestamp {
        self.run.submitted_at().unwrap_or_default()
    }
}
