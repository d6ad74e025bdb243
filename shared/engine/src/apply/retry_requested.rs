//! `RetryRequested`: somebody repaired what stalled the run.
//!
//! The steps that are named, or all that are stuck, get a new retry budget; attempt numbers go on. A `foreach` named as a
//! whole means all its stuck members. Names that are not stuck are passed over; if that leaves none, the request is
//! ignored by name. An expression that failed is evaluated again: since plan and values of a run never change it fails
//! again, unless a payload was missing that is there now.

use kapelle_types::StepRef;

use super::locate;
use crate::command::Command;
use crate::ignored::Ignored;
use crate::state::{Place, SlotState, StepState};
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, steps: &[StepRef]) -> Result<(), Ignored> {
    if !turn.run.is_stalled() {
        return Err(Ignored::NotStalled);
    }
    let places = meant(turn, steps);
    let output = steps.is_empty() && turn.run.broken_output.take().is_some();
    if places.is_empty() && !output {
        return Err(Ignored::NotGivenUp);
    }
    for place in places {
        renew(turn, place);
        turn.wake(place.step);
    }
    Ok(())
}

/// The stuck places that the request means.
fn meant(turn: &Turn<'_>, steps: &[StepRef]) -> Vec<Place> {
    if steps.is_empty() {
        return turn.run.stuck.iter().copied().collect();
    }
    let mut places = Vec::new();
    for name in steps {
        let whole = turn.run.find(&name.step).filter(|_| name.item.is_none());
        if let Some(step) = whole {
            let all = Place::whole(step)..Place::whole(step + 1);
            places.extend(turn.run.stuck.range(all).copied());
        } else if let Ok(place) = locate(turn.run, name) {
            places.extend(turn.run.stuck.get(&place).copied());
        }
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// Makes a stuck place due again.
fn renew(turn: &mut Turn<'_>, place: Place) {
    turn.run.set_stuck(place, false);
    turn.run.edit_slot(place, crate::state::Slot::renew);
    if let Some(SlotState::GaveUp(_)) = turn.run.set_slot(place, SlotState::Due) {
        let plan = turn.plan();
        let agent = plan.steps.get(place.step).map(|s| s.agent.clone());
        let removal = place.name(&plan).zip(agent).map(|(step, agent)| Command::RemoveDeadLetter { step, agent });
        turn.commands.extend(removal);
    }
    let step = turn.run.steps.get_mut(place.step).map(|s| &mut s.state);
    match step {
        Some(state @ StepState::Broken(_)) => *state = StepState::Ready,
        Some(StepState::FanOut(fan)) if place.item.is_none() => fan.broken = None,
        Some(_) | None => {}
    }
}
