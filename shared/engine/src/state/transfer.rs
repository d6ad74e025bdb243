//! The one place where slots change state, so that counters, timers and sets always say what the slots say.

use kapelle_types::Timestamp;

use super::place::Place;
use super::run::Run;
use super::slot::{Slot, SlotState};
use super::step::{FanOut, Step, StepState};
use crate::plan::StepIndex;

impl Run {
    /// The slot at a place; `None` if the step has not started, has ended, or has no such started member.
    pub(crate) fn slot(&self, place: Place) -> Option<&Slot> {
        match (self.state(place.step)?, place.item) {
            (StepState::Single(slot), None) => Some(slot),
            (StepState::FanOut(fan), Some(item)) => fan.members.get(item as usize),
            _ => None,
        }
    }

    /// Changes what a slot remembers, and the run's weight with it. Its state is changed by [`Run::set_slot`] only.
    pub(crate) fn edit_slot<T>(&mut self, place: Place, edit: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let slot = slot_mut(&mut self.steps, place)?;
        let before = slot.heap_bytes();
        let result = edit(slot);
        self.heap_bytes = self.heap_bytes.saturating_sub(before) + slot.heap_bytes();
        Some(result)
    }

    /// Brings a slot into another state and hands back the old one.
    pub(crate) fn set_slot(&mut self, place: Place, new: SlotState) -> Option<SlotState> {
        let old = self.edit_slot(place, |slot| std::mem::replace(&mut slot.state, new))?;
        let new = slot_mut(&mut self.steps, place)?.state.clone();
        self.count_slot(place, &old, false);
        self.count_slot(place, &new, true);
        Some(old)
    }

    /// Takes a state of a slot into the counters, or out of them.
    fn count_slot(&mut self, place: Place, state: &SlotState, enters: bool) {
        #[cfg(test)]
        crate::cost::count(1);
        match state {
            SlotState::InFlight => step_count(&mut self.in_flight, enters),
            SlotState::Awaiting(due) => {
                if let Some(due) = due {
                    self.count_timer(*due, place, enters);
                }
                if enters {
                    self.awaiting.insert(place)
                } else {
                    self.awaiting.remove(&place)
                };
            }
            SlotState::Retrying(due) => self.count_timer(*due, place, enters),
            SlotState::GaveUp(_) => self.set_given_up(place, enters),
            SlotState::Broken(_) => self.set_stuck(place, enters),
            SlotState::Due | SlotState::Done => {}
        }
        if let (Some(item), Some(fan)) = (place.item, self.fan_out_mut(place.step)) {
            fan.count(item, state, enters);
        }
    }

    fn count_timer(&mut self, due: Timestamp, place: Place, enters: bool) {
        if enters {
            self.timers.insert((due, place));
        } else {
            self.timers.remove(&(due, place));
        }
    }

    fn set_given_up(&mut self, place: Place, enters: bool) {
        self.set_stuck(place, enters);
        if enters {
            self.revived.remove(&(place, self.actor(place)));
        } else {
            self.revived.insert((place, self.actor(place)));
        }
    }

    /// Notes that a place is stuck, or is no longer.
    pub(crate) fn set_stuck(&mut self, place: Place, stuck: bool) {
        if stuck {
            self.stuck.insert(place);
        } else {
            self.stuck.remove(&place);
        }
    }

    pub(crate) fn fan_out_mut(&mut self, step: StepIndex) -> Option<&mut FanOut> {
        match &mut self.steps.get_mut(step)?.state {
            StepState::FanOut(fan) => Some(fan),
            _ => None,
        }
    }

    /// Adds a step to those whose needs have ended.
    pub(crate) fn activate(&mut self, step: StepIndex) {
        if let Err(at) = self.active.binary_search(&step) {
            self.active.insert(at, step);
        }
    }

    /// Takes a step that ended out of the active ones.
    pub(crate) fn deactivate(&mut self, step: StepIndex) {
        if let Ok(at) = self.active.binary_search(&step) {
            self.active.remove(at);
        }
    }
}

impl FanOut {
    fn count(&mut self, item: u32, state: &SlotState, enters: bool) {
        let counter = match state {
            SlotState::InFlight => &mut self.in_flight,
            SlotState::Retrying(_) => &mut self.retrying,
            SlotState::Awaiting(_) => &mut self.awaiting,
            SlotState::Done => &mut self.done,
            SlotState::Due if enters => {
                self.due.insert(item);
                return;
            }
            SlotState::Due => {
                self.due.remove(&item);
                return;
            }
            SlotState::GaveUp(_) | SlotState::Broken(_) => return,
        };
        *counter = if enters { *counter + 1 } else { counter.saturating_sub(1) };
    }
}

fn slot_mut(steps: &mut [Step], place: Place) -> Option<&mut Slot> {
    match (&mut steps.get_mut(place.step)?.state, place.item) {
        (StepState::Single(slot), None) => Some(slot),
        (StepState::FanOut(fan), Some(item)) => fan.members.get_mut(item as usize),
        _ => None,
    }
}

fn step_count(counter: &mut usize, up: bool) {
    *counter = if up { *counter + 1 } else { counter.saturating_sub(1) };
}
