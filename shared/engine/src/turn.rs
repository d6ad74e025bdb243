//! One turn: an entry on its way through a run, and the transitions that several entry kinds share.
//!
//! ```text
//!   apply/<entry>.rs ──changes slots, ends steps──▶ queue of steps that may go on
//!                                                        │ settle
//!                                                        ▼
//!                                         advance: start │ dispatch │ fill the fan-out ──▶ commands
//!                                                        │ a step ended: its dependants join the queue
//!                                                        ▼
//!                                         all ended ──▶ complete, or the next step of closing
//! ```

mod fan_out;

use std::collections::VecDeque;
use std::sync::Arc;

use kapelle_types::Payload;
use serde_json::Value;

use crate::apply::give_up;
use crate::approval;
use crate::command::Command;
use crate::contract;
use crate::entry::{Failure, Stamp};
use crate::flow;
use crate::limits;
use crate::plan::{Phase, Plan, PlanStep, StepIndex};
use crate::scope::View;
use crate::spending;
use crate::state::{Place, Run, RunStatus, Slot, SlotState, Stage, StepState};
use crate::weight::payload_bytes;

/// One entry on its way through a run.
pub(crate) struct Turn<'r> {
    pub(crate) run: &'r mut Run,
    /// When and where the log has the entry: the only time there is.
    pub(crate) stamp: Stamp,
    /// The answer so far.
    pub(crate) commands: Vec<Command>,
    /// A reported success was taken as a failure.
    pub(crate) refused: bool,
    /// The signals that steps took, by where the log has them.
    pub(crate) taken: Vec<u64>,
    /// Active steps that may be able to go on.
    queue: VecDeque<StepIndex>,
}

impl<'r> Turn<'r> {
    pub(crate) fn new(run: &'r mut Run, stamp: Stamp) -> Self {
        Self { run, stamp, commands: Vec::new(), refused: false, taken: Vec::new(), queue: VecDeque::new() }
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.run.plan)
    }

    /// Notes that a step may be able to go on; [`Turn::settle`] sees to it.
    pub(crate) fn wake(&mut self, step: StepIndex) {
        self.queue.push_back(step);
    }

    /// The same for every step that has not ended and may be waited for.
    pub(crate) fn wake_all(&mut self) {
        self.queue.extend(self.run.active.iter().copied());
    }

    /// Lets everything go on that can, and completes the run when nothing is left.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(step) = self.queue.pop_front() {
                self.advance(step);
            }
            let work_done = self.run.open_steps == 0 && self.run.broken_output.is_none();
            if self.run.stage() == Stage::Open && self.run.closing.is_none() && work_done {
                self.complete();
            }
            if self.run.stage() != Stage::Open || !self.close_further() {
                return;
            }
        }
    }

    /// Notes that a step whose needs have all ended may start.
    pub(crate) fn ready(&mut self, step: StepIndex) {
        if let Some(s) = self.run.steps.get_mut(step) {
            s.state = StepState::Ready;
            self.run.activate(step);
            self.wake(step);
        }
    }

    /// Does for one step whatever can be done now. Doing it once too often changes nothing.
    fn advance(&mut self, step: StepIndex) {
        #[cfg(test)]
        crate::cost::count(1);
        if self.run.is_held() || self.run.is_off(step) {
            return;
        }
        let plan = self.plan();
        let Some(planned) = plan.steps.get(step) else { return };
        match self.run.state(step) {
            Some(StepState::Ready) => self.start(step, planned),
            Some(StepState::Single(slot)) if slot.state == SlotState::Due => self.dispatch(Place::whole(step), planned),
            Some(StepState::FanOut(_)) => self.fill(step, planned),
            Some(_) | None => {}
        }
    }

    /// Decides `when`, then `foreach`, then dispatches.
    fn start(&mut self, step: StepIndex, planned: &PlanStep) {
        let place = Place::whole(step);
        if !self.join(step, planned) {
            return;
        }
        if !self.in_case(planned) {
            return self.end(step, StepState::Skipped);
        }
        let condition = planned.when.as_ref().map(|when| when.evaluate_bool(&View::from(self.run, place)));
        match condition {
            Some(Ok(false)) => return self.end_skipped(step),
            Some(Err(error)) => return self.break_step(place, "when", &error),
            Some(Ok(true)) | None => {}
        }
        let Some(list) = &planned.foreach else {
            self.set_state(step, StepState::Single(Slot::default()));
            return self.dispatch(place, planned);
        };
        match list.evaluate(&View::from(self.run, place)) {
            Err(error) => self.break_step(place, "foreach", &error),
            Ok(payload) => match self.items(place, payload) {
                Err(failure) => self.set_broken(place, failure),
                Ok(items) => self.fan_out(step, planned, items),
            },
        }
    }

    /// Whether the case that the step belongs to was taken.
    fn in_case(&self, planned: &PlanStep) -> bool {
        let Some((switch, case)) = &planned.case else { return true };
        let taken = match self.run.state(*switch) {
            Some(StepState::Succeeded { output, .. }) => output.value.as_deref().and_then(Value::as_str),
            _ => None,
        };
        taken == Some(case.as_str())
    }

    /// Queues the next attempt of a slot that is due.
    fn dispatch(&mut self, place: Place, planned: &PlanStep) {
        if place.item.is_none()
            && let Some(failure) = spending::exhausted(self.run, self.run.doing(place, planned))
        {
            let at = self.stamp.at;
            self.run.edit_slot(place, |slot| slot.remember(at, &failure));
            return give_up(self, place, planned);
        }
        approval::verify(self.run, place, planned, self.stamp.at);
        let input = match approval::arguments(self.run, place, planned) {
            Ok(input) => input,
            Err(error) => return self.break_slot(place, "with", &error),
        };
        let refused = contract::input(self.run, place, planned, &input);
        let refused = refused.or_else(|| limits::input(self.run, place, planned, &input));
        if let Some(failure) = refused.or_else(|| flow::of(self.run, place, planned, &input).err()) {
            self.run.set_slot(place, SlotState::Broken(Box::new(failure)));
            return;
        }
        let at = self.stamp.at;
        // An attempt that was held has its number.
        let next = u32::from(!approval::is_first_use(self.run, place));
        let attempt = self.run.edit_slot(place, |slot| {
            slot.attempt = slot.attempt.saturating_add(next);
            slot.first_at.get_or_insert(at);
            slot.attempt
        });
        if let (Some(_), Some(fan)) = (place.item, self.run.fan_out_mut(place.step)) {
            fan.attempts = fan.attempts.saturating_add(next);
        }
        if let Some(task) = attempt.and_then(|a| place.task(&self.run.plan, a)) {
            self.begin(place, planned, task, input);
        }
    }

    /// A slot has its output.
    pub(crate) fn succeed(&mut self, place: Place, output: &Payload) {
        if self.goes_on(place, output) {
            return;
        }
        approval::forget(self.run, place);
        let attempt = self.run.edit_slot(place, |slot| {
            (slot.trouble, slot.rounds) = (None, None);
            slot.attempt
        });
        self.run.set_slot(place, SlotState::Done);
        let attempt = attempt.unwrap_or_default();
        match place.item {
            None => self.end_single(place.step, output.clone(), attempt),
            Some(item) => self.end_member(place.step, item, output),
        }
    }

    /// A slot gave up, and the run goes on without its output.
    pub(crate) fn pass_over(&mut self, place: Place) {
        approval::forget(self.run, place);
        let seen = self.run.edit_slot(place, |slot| {
            let failure = slot.failure().cloned();
            (slot.trouble, slot.rounds) = (None, None);
            (slot.attempt, failure)
        });
        self.run.set_slot(place, SlotState::Done);
        match (place.item, seen) {
            (None, Some((attempts, Some(failure)))) => {
                self.end(place.step, StepState::PassedOver { attempts, failure: Box::new(failure) });
            }
            (None, _) => self.end(place.step, StepState::Skipped), // it has a slot, and that a failure
            (Some(item), _) => {
                if let Some(fan) = self.run.fan_out_mut(place.step) {
                    fan.passed_over = fan.passed_over.saturating_add(1);
                }
                self.end_member(place.step, item, &Payload::null());
            }
        }
    }

    /// Ends the only slot of a step that is not a `foreach`.
    pub(crate) fn end_single(&mut self, step: StepIndex, output: Payload, attempts: u32) {
        self.run.heap_bytes += payload_bytes(&output);
        self.end(step, StepState::Succeeded { output, attempts, members: None });
    }

    /// Ends a step that is not done: its `when` was false, here or in the run that this one is a fork of.
    pub(crate) fn end_skipped(&mut self, step: StepIndex) {
        self.end(step, StepState::Skipped);
    }

    /// Ends a `foreach` whose members returned this list in another run.
    pub(crate) fn end_members(&mut self, step: StepIndex, output: Payload, total: u32) {
        self.run.heap_bytes += payload_bytes(&output);
        self.end(step, StepState::Succeeded { output, attempts: 0, members: Some(total) });
    }

    /// A step has ended: only its dependants are looked at.
    pub(crate) fn end(&mut self, step: StepIndex, state: StepState) {
        let plan = self.plan();
        if matches!(state, StepState::Succeeded { .. }) {
            self.run.undo.extend(plan.compensation(step));
        }
        self.set_state(step, state);
        self.run.deactivate(step);
        let work = plan.steps.get(step).is_some_and(|planned| planned.phase == Phase::Work);
        self.run.open_steps = self.run.open_steps.saturating_sub(usize::from(work));
        let dependants: Vec<_> = self.run.dependants.on(step).collect();
        for dependant in dependants {
            #[cfg(test)]
            crate::cost::count(1);
            let Some(waiting) = self.run.steps.get_mut(dependant) else { continue };
            waiting.waits = waiting.waits.saturating_sub(1);
            if self.may_begin(dependant) {
                self.ready(dependant);
            }
        }
    }

    fn complete(&mut self) {
        let plan = self.plan();
        match plan.output.evaluate(&View::of_run(self.run)) {
            Ok(output) => match contract::result(self.run, &plan, &output) {
                Some(failure) => self.run.broken_output = Some(Box::new(failure)),
                None => self.finish(RunStatus::Completed, Some(output), None),
            },
            Err(error) => self.run.broken_output = Some(Box::new(Failure::of_output(&error))),
        }
    }

    fn set_state(&mut self, step: StepIndex, state: StepState) {
        if let Some(s) = self.run.steps.get_mut(step) {
            s.state = state;
        }
    }

    pub(crate) fn break_slot(&mut self, place: Place, field: &str, error: &kapelle_expression::Error) {
        if let Some(name) = place.name(&self.run.plan) {
            let failure = Failure::of_expression(&name, field, error);
            self.run.set_slot(place, SlotState::Broken(Box::new(failure)));
        }
    }

    fn break_step(&mut self, place: Place, field: &str, error: &kapelle_expression::Error) {
        if let Some(name) = place.name(&self.run.plan) {
            self.set_broken(place, Failure::of_expression(&name, field, error));
        }
    }

    pub(crate) fn set_broken(&mut self, place: Place, failure: Failure) {
        self.set_state(place.step, StepState::Broken(Box::new(failure)));
        self.run.set_stuck(place, true);
    }
}
