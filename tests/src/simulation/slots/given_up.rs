//! Slots that are held for people, that joins take back, and that give up.

use kapelle_engine::{Body, Decision, Entry, OnGiveUp, Run, Stamp, StepStatus, TimerId};
use kapelle_types::{StepId, StepRef, TaskId, Timestamp};

use super::{Slots, Wrong, hold};

impl Slots {
    /// What people, whoever looks again, and time say about questions.
    pub(super) fn questioned(
        &mut self,
        run: &Run,
        entry: &Entry,
        stamp: Stamp,
        decision: &Decision,
    ) -> Result<(), Wrong> {
        let said = (self.ended || self.last.due.is_some(), decision.ignored);
        match &entry.body {
            Body::ApprovalDecided(decided) => {
                let exhausted = self.questions.decided(run, (&entry.id, decided), stamp, said, &decision.commands)?;
                exhausted.then(|| self.exhaust(run, &decided.step));
            }
            Body::ApprovalChecked(checked) => {
                let granted = self.questions.checked(run, checked, stamp.at, said)?;
                let planned = self.planned(&checked.step).filter(|_| granted);
                // What no report ends is not counted any further.
                if planned.is_some_and(|planned| !planned.act.is_reported()) {
                    self.slots.entry(checked.step.clone()).or_default().done = true;
                }
            }
            Body::TimerFired { timer: TimerId::Wake(task) } if said == (false, None) => {
                let exhausted = self.questions.expired(task, stamp.at)?;
                exhausted.then(|| self.exhaust(run, &task.step));
            }
            _ => {}
        }
        Ok(())
    }

    /// A timer to wake a step: of a question, if people are asked by now who were not before.
    pub(super) fn asked(&mut self, run: &Run, task: &TaskId, due: Timestamp, at: Timestamp) -> Result<(), Wrong> {
        if run.asked_at(&task.step).is_none() || self.questions.is_open(&task.step) {
            return Ok(());
        }
        let slot = self.slots.entry(task.step.clone()).or_default();
        hold("attempts_are_numbered_in_a_row", task.attempt == slot.attempts + 1, || task.to_string())?;
        let planned = self.plan.steps.iter().find(|it| it.id == task.step.step);
        let free = !slot.in_flight && (!slot.done || planned.is_some_and(|it| !it.act.is_reported()));
        hold("only_who_may_go_on_is_asked_about", free && !slot.exhausted && !self.paused, || task.to_string())?;
        (slot.attempts, slot.done) = (task.attempt, false);
        self.questions.ask(run, task, due, at)
    }

    /// A join does not wait for a step any more.
    pub(super) fn take_back(&mut self, step: &StepId) {
        self.over.insert(step.clone());
        for (place, slot) in self.slots.iter_mut().filter(|(place, _)| place.step == *step) {
            (slot.in_flight, slot.done) = (false, true);
            self.questions.forget(place);
        }
    }

    /// A slot is out of attempts: the run goes on without it, if it may.
    pub(super) fn exhaust(&mut self, run: &Run, step: &StepRef) {
        self.questions.forget(step);
        let Some(planned) = self.planned(step) else { return };
        let total = run.steps().find(|it| *it.id == step.step).and_then(|it| it.members).map_or(0, |it| it.total);
        let passed = self.slots.iter().filter(|(place, slot)| place.step == step.step && slot.passed).count();
        let may_fail = planned.max_failures.is_some_and(|max| step.item.is_some() && passed < max.of(total) as usize);
        let passes = may_fail || planned.on_give_up == OnGiveUp::Continue;
        let slot = self.slots.entry(step.clone()).or_default();
        (slot.exhausted, slot.done, slot.passed) = (true, passes, passes);
    }

    /// Whether people agreed to everything that was done and that they had to agree to.
    pub(crate) fn all_agreed(&self, run: &Run) -> bool {
        let done = run.steps().filter(|step| step.status == StepStatus::Succeeded && !self.kept.contains(step.id));
        done.filter_map(|step| self.planned(&StepRef::whole(step.id.clone())))
            .filter(|planned| planned.approval().is_some() && planned.foreach.is_none())
            .all(|planned| self.questions.was_granted(&StepRef::whole(planned.id.clone())))
    }
}
