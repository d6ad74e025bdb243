//! The turns of a `foreach`: a slot for each item of its list, some of them at work, one list of outputs.

use std::sync::Arc;

use kapelle_types::limits::FAN_OUT_MAX;
use kapelle_types::{Code, Payload};
use serde_json::Value;

use super::Turn;
use crate::entry::Failure;
use crate::plan::{OnGiveUp, PlanStep, StepIndex};
use crate::spending;
use crate::state::{FanOut, Place, RunStatus, StepState};
use crate::weight::value_bytes;

impl Turn<'_> {
    /// The items of a `foreach`, if there are not too many.
    pub(super) fn items(&self, place: Place, payload: Payload) -> Result<Vec<Arc<Value>>, Failure> {
        let refuse = |what: &str| match place.name(&self.run.plan) {
            Some(name) => Err(Failure::of_list(&name, what)),
            None => Err(Failure::of_run(Code::FAN_OUT, what.to_owned())),
        };
        let Some(value) = payload.value else {
            return Err(Failure::of_run(Code::PAYLOAD_MISSING, "the list of a `foreach` cannot be fetched".to_owned()));
        };
        match &*value {
            Value::Array(items) if items.len() > FAN_OUT_MAX => {
                refuse(&format!("the list has {} items, {FAN_OUT_MAX} are allowed", items.len()))
            }
            Value::Array(_) => match Arc::unwrap_or_clone(value) {
                Value::Array(items) => Ok(batched(items, self.run.plan.steps.get(place.step).and_then(|it| it.batch))),
                _ => Ok(Vec::new()), // it is an array
            },
            Value::Null => refuse("it is null, not a list"),
            _ => refuse("it is not a list"),
        }
    }

    pub(super) fn fan_out(&mut self, step: StepIndex, planned: &PlanStep, items: Vec<Arc<Value>>) {
        let weight: usize = items.iter().map(|v| value_bytes(v)).sum();
        let fan = FanOut::new(items);
        self.run.heap_bytes += weight + fan.frame_bytes();
        self.set_state(step, StepState::FanOut(Box::new(fan)));
        self.fill(step, planned);
    }

    /// Dispatches members, those that are due again first, until `max_parallel` are busy; ends the step when all are done.
    pub(super) fn fill(&mut self, step: StepIndex, planned: &PlanStep) {
        let room = planned.max_parallel.max(1);
        self.unstick(step);
        while let Some(fan) = self.run.fan_out_mut(step) {
            if fan.busy() >= room {
                return;
            }
            if fan.has_next()
                && let Some(failure) = spending::exhausted(self.run, planned.by(0))
            {
                if planned.on_give_up == OnGiveUp::Continue {
                    self.pass_over_next(step);
                    continue;
                }
                return self.stand_still(step, planned, failure);
            }
            let Some(fan) = self.run.fan_out_mut(step) else { return };
            let Some(item) = fan.next() else { break };
            self.dispatch(Place::member(step, item), planned);
        }
        self.end_fan_out(step);
    }

    /// The next member is not begun: its output is null.
    fn pass_over_next(&mut self, step: StepIndex) {
        if let Some(item) = self.run.fan_out_mut(step).and_then(FanOut::next) {
            self.pass_over(Place::member(step, item));
        }
    }

    /// A `foreach` starts nothing more: one stall for all its members, which keep their places, instead of one for each.
    fn stand_still(&mut self, step: StepIndex, planned: &PlanStep, failure: Failure) {
        let (Some(name), Some(fan)) = (Place::whole(step).name(&self.run.plan), self.run.fan_out_mut(step)) else {
            return;
        };
        match planned.on_give_up {
            OnGiveUp::Fail => {
                let error = Failure::gave_up(&name, fan.attempts, &failure);
                self.finish(RunStatus::Failed, None, Some(error));
            }
            OnGiveUp::Stall | OnGiveUp::Continue => {
                fan.broken =
                    Some(Box::new(Failure { message: format!("step `{name}`: {}", failure.message), ..failure }));
                self.run.set_stuck(Place::whole(step), true);
            }
        }
    }

    /// What kept a `foreach` from going on is found again if it still does.
    fn unstick(&mut self, step: StepIndex) {
        if self.run.fan_out_mut(step).and_then(|fan| fan.broken.take()).is_some() {
            self.run.set_stuck(Place::whole(step), false);
        }
    }

    /// Keeps a member's output in its place, lets its item go, and makes room for the next member.
    pub(super) fn end_member(&mut self, step: StepIndex, item: u32, output: &Payload) {
        let Some(fan) = self.run.fan_out_mut(step) else { return };
        let at = item as usize;
        let freed = fan.items.get_mut(at).and_then(Option::take).map_or(0, |v| value_bytes(&v));
        let added = output.value.as_deref().map_or(0, value_bytes);
        if let Some(slot) = fan.outputs.get_mut(at) {
            slot.clone_from(&output.value);
        }
        self.run.heap_bytes = self.run.heap_bytes.saturating_sub(freed) + added;
        self.wake(step);
    }

    /// Ends a `foreach` step whose members are all done: its output is the list of theirs, in item order.
    fn end_fan_out(&mut self, step: StepIndex) {
        let Some(fan) = self.run.fan_out_mut(step) else { return };
        if fan.done < fan.total() {
            return;
        }
        if fan.outputs.iter().any(Option::is_none) {
            let message = "outputs of some members of a `foreach` cannot be fetched".to_owned();
            fan.broken = Some(Box::new(Failure::of_run(Code::PAYLOAD_MISSING, message)));
            self.run.set_stuck(Place::whole(step), true);
            return;
        }
        let (attempts, total, frame) = (fan.attempts, fan.total(), fan.frame_bytes());
        let values = std::mem::take(&mut fan.outputs).into_iter().flatten().map(Arc::unwrap_or_clone).collect();
        // The members' values stay, inside one array now; their weight was counted when they came.
        self.run.heap_bytes = self.run.heap_bytes.saturating_sub(frame) + size_of::<Value>();
        let output = Payload::inline(Value::Array(values));
        self.end(step, StepState::Succeeded { output, attempts, members: Some(total) });
    }
}

/// What each member works on: an item, or a list of so many.
fn batched(items: Vec<Value>, batch: Option<u32>) -> Vec<Arc<Value>> {
    let Some(size) = batch.and_then(|it| usize::try_from(it).ok()).filter(|it| *it > 0) else {
        return items.into_iter().map(Arc::new).collect();
    };
    items.chunks(size).map(|batch| Arc::new(Value::Array(batch.to_vec()))).collect()
}
