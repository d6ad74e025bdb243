//! Runs that begin runs: who stands above a run, and what it tells those below it.

use kapelle_types::{RunId, TaskId};

use super::run::Run;
use super::{Place, StepState};
use crate::command::Command;
use crate::entry::Parent;
use crate::plan::{PlanStep, StepIndex};
use crate::turn::Turn;

impl Run {
    /// The attempt that it was begun for, if another run wanted it.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.origin.as_ref().and_then(|origin| origin.parent.as_ref())
    }

    /// What it tells a run that it begins about itself.
    pub(crate) fn as_parent(&self, task: TaskId, awaited: bool) -> Parent {
        Parent {
            run: self.id,
            task,
            signing_key: self.origin.as_ref().and_then(|origin| origin.signing_key),
            root: self.parent().map_or(self.id, |above| above.root),
            depth: self.depth().saturating_add(1),
            awaited,
        }
    }

    /// How many runs stand above it.
    pub(crate) fn depth(&self) -> u32 {
        self.parent().map_or(0, |above| above.depth)
    }

    /// Whether a step runs another workflow.
    pub(crate) fn runs_another(&self, step: StepIndex) -> bool {
        self.plan.steps.get(step).is_some_and(|planned| planned.runs().is_some())
    }

    /// The run that it goes on in the place of.
    #[must_use]
    pub fn continued_from(&self) -> Option<RunId> {
        self.origin.as_ref().and_then(|origin| origin.continued_from)
    }

    /// The run that goes on in its place, once that is begun.
    #[must_use]
    pub fn continued_as(&self) -> Option<RunId> {
        let (_, task) = self.continued()?;
        Some(RunId::of_attempt(self.id, &task))
    }

    /// The attempt that began the run which goes on in its place.
    fn continued(&self) -> Option<(Place, TaskId)> {
        let step = self.plan.steps.iter().position(PlanStep::continues)?;
        let Some(StepState::Succeeded { attempts, .. }) = self.state(step) else { return None };
        let place = Place::whole(step);
        Some((place, place.task(&self.plan, *attempts)?))
    }

    /// Attempts that are in the queue of an agent, or being worked on.
    #[must_use]
    pub fn tasks_in_flight(&self) -> usize {
        if self.in_flight == 0 {
            return 0; // what was taken back keeps its state
        }
        let of_agent = |step: &&StepIndex| {
            !self.is_off(**step) && self.plan.steps.get(**step).is_some_and(|it| it.agent().is_some())
        };
        self.active.iter().filter(of_agent).map(|step| self.step_in_flight(*step) as usize).sum()
    }
}

impl Turn<'_> {
    /// Whoever ends a run ends the one that goes on in its place. False if none does.
    pub(crate) fn pass_on(&mut self, terminate: bool) -> bool {
        if self.run.continued().is_none() {
            return false;
        }
        let at_once = self.run.passed_on.unwrap_or(false) || terminate;
        self.run.passed_on = Some(at_once);
        self.commands.extend(passed_on(self.run));
        true
    }
}

/// The end of the run that goes on in the place of this one, if whoever ended this one wished it; the command may be lost.
pub(crate) fn passed_on(run: &Run) -> Option<Command> {
    let (terminate, (place, task)) = (run.passed_on?, run.continued()?);
    Command::withdraw(run, place, task, terminate)
}

#[cfg(test)]
mod tests;
