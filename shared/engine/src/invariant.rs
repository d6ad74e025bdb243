//! What always holds for a run, each with a name. [`check`] recounts everything and runs in tests and in simulation;
//! [`check_cheap`] reads counters only and runs in production after every entry.

use kapelle_types::Usd;

use crate::joins;
use crate::plan::{Phase, StepIndex};
use crate::state::{FanOut, Place, Run, RunStatus, Slot, SlotState, Stage, StepState};
use crate::weight::{payload_bytes, value_bytes};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {detail}")]
pub struct Violation {
    /// Which invariant.
    pub name: &'static str,
    /// What was found.
    pub detail: String,
}

/// Checks every invariant, by walking the whole run.
///
/// # Errors
/// The first that does not hold.
pub fn check(run: &Run) -> Result<(), Violation> {
    check_cheap(run)?;
    (0..run.steps.len()).try_for_each(|step| needs_ended_first(run, step))?;
    outputs_in_item_order(run)?;
    closing_is_in_order(run)?;
    weight_is_the_sum(run)?;
    spending_is_the_sum(run)?;
    chains_are_in_order(run)?;
    if run.stage() == Stage::Open {
        let waits = |place: &crate::state::Place| run.awaiting.contains(place);
        hold("what_is_asked_waits", crate::approval::asked(run).all(|it| waits(&it)), || {
            format!("{:?}", run.awaiting)
        })?;
    }
    if run.stage() == Stage::Open { counters_say_what_the_slots_say(run) } else { Ok(()) }
}

/// Checks the invariants that cost no more than a look at the active steps.
///
/// # Errors
/// The first that does not hold.
pub fn check_cheap(run: &Run) -> Result<(), Violation> {
    let pending = run.in_flight + run.timers.len() + run.awaiting.len();
    hold("a_finished_run_has_nothing_in_flight", !run.is_finished() || pending == 0, || format!("{pending} pending"))?;
    let open = run.stage() == Stage::Open;
    let waits = pending > 0 || run.paused || run.is_stalled();
    hold("an_open_run_waits_for_something", !open || waits, || format!("{} steps open", run.open_steps))?;
    let explained = !run.is_stalled() || run.origin.is_none() || run.is_finished() || run.stall_reason().is_some();
    hold("stalled_has_a_reason", explained, || format!("{:?}", run.stuck.first()))?;
    hold("open_steps_exist", run.open_steps <= run.steps.len(), || run.open_steps.to_string())?;
    run.active.iter().try_for_each(|step| within_max_parallel(run, *step))
}

fn hold(name: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { name, detail: detail() }) }
}

fn within_max_parallel(run: &Run, step: StepIndex) -> Result<(), Violation> {
    let (Some(StepState::FanOut(fan)), Some(planned)) = (run.state(step), run.plan.steps.get(step)) else {
        return Ok(());
    };
    let fits = fan.busy() <= planned.max_parallel.max(1);
    hold("members_stay_within_max_parallel", fits, || format!("{} of {}", fan.busy(), planned.max_parallel))?;
    let counted = fan.done <= fan.total() && fan.members.len() <= fan.items.len();
    hold("members_are_items", counted, || format!("{} done of {}", fan.done, fan.total()))
}

/// A step that left WAITING has its needs ended, and is active exactly while it has not ended itself.
fn needs_ended_first(run: &Run, step: StepIndex) -> Result<(), Violation> {
    let (Some(planned), Some(state)) = (run.plan.steps.get(step), run.steps.get(step)) else { return Ok(()) };
    let open = planned.needs.iter().filter(|n| !run.state(**n).is_some_and(StepState::is_ended)).count();
    let abandoned = matches!(state.state, StepState::Abandoned { .. });
    let started = state.state != StepState::Waiting && !abandoned;
    let joins = state.state == StepState::Ready && joins::is_joined(run, step);
    hold("needs_end_before_a_step_starts", !started || open == 0 || joins, || {
        format!("{} with {open} open", planned.id)
    })?;
    hold("waits_counts_open_needs", state.waits == open, || format!("{}: {} not {open}", planned.id, state.waits))?;
    let active = run.active.binary_search(&step).is_ok();
    let expected = started && !state.state.is_ended();
    hold("active_steps_are_those_between", active == expected, || format!("{}: {active}", planned.id))
}

fn outputs_in_item_order(run: &Run) -> Result<(), Violation> {
    run.steps.iter().try_for_each(|step| match &step.state {
        StepState::Succeeded { output, members: Some(total), .. } => {
            let length = output.value.as_deref().and_then(|v| v.as_array()).map(Vec::len);
            hold("outputs_are_one_a_member", length == Some(*total as usize), || format!("{length:?} of {total}"))
        }
        StepState::FanOut(fan) => fan.members.iter().zip(&fan.items).try_for_each(|(slot, item)| {
            hold("an_item_is_kept_until_its_member_is_done", item.is_none() == (slot.state == SlotState::Done), || {
                format!("{:?}", slot.state)
            })
        }),
        _ => Ok(()),
    })
}

/// The last steps are done one after another; nothing of the work is under way beside them. What succeeded is undone
/// exactly once when all of it is done.
fn closing_is_in_order(run: &Run) -> Result<(), Violation> {
    let begun = |step: &StepIndex| run.state(*step) != Some(&StepState::Waiting);
    let last: Vec<_> = (0..run.steps.len()).filter(|step| !works(run).any(|it| it == *step)).filter(begun).collect();
    let Some(closing) = &run.closing else {
        return hold("last_steps_begin_when_the_run_closes", last.is_empty(), || format!("{last:?}"));
    };
    let open: Vec<_> = last.iter().filter(|step| !is_ended(run, **step)).collect();
    let alone = open.iter().all(|step| closing.current == Some(**step));
    hold("last_steps_are_done_one_after_another", alone, || format!("{open:?}"))?;
    let off = |place: &Place| run.is_off(place.step);
    let quiet = !run.awaiting.iter().chain(&run.stuck).chain(run.timers.iter().map(|(_, it)| it)).any(off);
    hold("nothing_of_the_work_goes_on_while_the_run_closes", quiet && !run.paused, || format!("{:?}", run.stuck))?;
    let undone = |step: StepIndex| run.plan.compensation(step).filter(|undo| is_ended(run, *undo)).is_some();
    let succeeded = |step: &StepIndex| matches!(run.state(*step), Some(StepState::Succeeded { .. }));
    let has = |step: &StepIndex| run.plan.compensation(*step).is_some();
    let fails = closing.status != RunStatus::Completed;
    let wrong = works(run).filter(has).find(|step| undone(*step) != (fails && succeeded(step)));
    hold("what_succeeded_is_undone_once", !closing.done || wrong.is_none(), || format!("{wrong:?}"))
}

/// The steps that are a run's work.
fn works(run: &Run) -> impl Iterator<Item = StepIndex> {
    let steps = run.plan.steps.iter().enumerate();
    steps.filter(|(_, planned)| planned.phase == Phase::Work).map(|(step, _)| step)
}

fn is_ended(run: &Run, step: StepIndex) -> bool {
    run.state(step).is_some_and(StepState::is_ended)
}

/// Recounts everything that `state/transfer.rs` keeps.
fn counters_say_what_the_slots_say(run: &Run) -> Result<(), Violation> {
    let mut seen = Recount::default();
    for (index, step) in run.steps.iter().enumerate().filter(|(index, _)| !run.is_off(*index)) {
        match &step.state {
            StepState::Single(slot) => seen.slot(Place::whole(index), slot),
            StepState::FanOut(fan) => seen.fan_out(run, index, fan)?,
            StepState::Broken(_) => seen.stuck.push(Place::whole(index)),
            StepState::Waiting
            | StepState::Ready
            | StepState::Skipped
            | StepState::Abandoned { .. }
            | StepState::PassedOver { .. }
            | StepState::Succeeded { .. } => {}
        }
    }
    let open = works(run).filter(|step| !is_ended(run, *step)).count();
    hold("open_steps_are_counted", open == run.open_steps, || format!("{open} not {}", run.open_steps))?;
    hold("in_flight_is_counted", seen.in_flight == run.in_flight, || {
        format!("{} not {}", seen.in_flight, run.in_flight)
    })?;
    hold("timers_are_those_of_the_slots", seen.timers == run.timers.len(), || format!("{:?}", run.timers))?;
    hold("awaiting_are_those_that_do", run.awaiting.iter().eq(&seen.awaiting), || format!("{:?}", run.awaiting))?;
    hold("stuck_are_those_that_are", run.stuck.iter().eq(&seen.stuck), || format!("{:?}", run.stuck))?;
    let idle = run.is_held() || seen.startable == 0;
    hold("what_can_start_has_started", idle, || format!("{} due", seen.startable))
}

#[derive(Default)]
struct Recount {
    in_flight: usize,
    timers: usize,
    awaiting: Vec<Place>,
    stuck: Vec<Place>,
    startable: usize,
}

impl Recount {
    fn slot(&mut self, place: Place, slot: &Slot) {
        match &slot.state {
            SlotState::Due => self.startable += usize::from(place.item.is_none()),
            SlotState::InFlight => self.in_flight += 1,
            SlotState::Retrying(_) => self.timers += 1,
            SlotState::Awaiting(due) => {
                self.timers += usize::from(due.is_some());
                self.awaiting.push(place);
            }
            SlotState::GaveUp(_) | SlotState::Broken(_) => self.stuck.push(place),
            SlotState::Done => {}
        }
    }

    fn fan_out(&mut self, run: &Run, step: StepIndex, fan: &FanOut) -> Result<(), Violation> {
        if fan.broken.is_some() {
            self.stuck.push(Place::whole(step));
        }
        for (item, slot) in (0..).zip(&fan.members) {
            self.slot(Place::member(step, item), slot);
        }
        let count = |f: &dyn Fn(&SlotState) -> bool| fan.members.iter().filter(|s| f(&s.state)).count();
        let counted =
            [fan.in_flight as usize, fan.retrying as usize, fan.awaiting as usize, fan.done as usize, fan.due.len()];
        let recounted = [
            count(&|s| *s == SlotState::InFlight),
            count(&|s| matches!(s, SlotState::Retrying(_))),
            count(&|s| matches!(s, SlotState::Awaiting(_))),
            count(&|s| *s == SlotState::Done),
            count(&|s| *s == SlotState::Due),
        ];
        hold("members_are_counted", counted == recounted, || format!("{counted:?} not {recounted:?}"))?;
        let room = run.plan.steps.get(step).is_some_and(|s| fan.busy() < s.max_parallel.max(1));
        self.startable += usize::from(room && fan.has_next() && fan.broken.is_none());
        Ok(())
    }
}

fn weight_is_the_sum(run: &Run) -> Result<(), Violation> {
    let steps: usize = run.steps.iter().map(|s| step_bytes(&s.state)).sum();
    let origin = run.origin.as_deref().map_or(0, crate::apply::origin_bytes);
    let output = run.outcome().and_then(|o| o.output.as_ref()).map_or(0, payload_bytes);
    let sum = steps + origin + output;
    hold("weight_is_the_sum", sum == run.heap_bytes, || format!("{sum} not {}", run.heap_bytes))
}

/// Each attempt is paid once, and only what agents with a limit do.
fn spending_is_the_sum(run: &Run) -> Result<(), Violation> {
    let Some(spending) = &run.spending else { return Ok(()) };
    spending.purses.iter().try_for_each(|((step, actor), purse)| {
        let sum = purse.attempts.values().copied().sum::<Usd>();
        hold("spent_is_the_sum_of_attempts", sum == purse.spent, || format!("{sum} not {}", purse.spent))?;
        let limited = run.plan.steps.get(*step).is_some_and(|s| s.by(*actor).cost_per_run().is_some());
        hold("a_purse_belongs_to_a_limited_agent", limited, || step.to_string())
    })?;
    let kept: usize = spending.purses.values().map(|purse| purse.attempts.len()).sum();
    hold("paid_attempts_are_counted", kept == spending.attempts_kept, || format!("{kept}"))
}

/// A step is handed on within its bound, to those that it may be handed to, by attempts that follow one another; each hop is
/// a round of its own.
fn chains_are_in_order(run: &Run) -> Result<(), Violation> {
    run.chains.iter().flat_map(|chains| chains.iter()).try_for_each(|(step, hops)| {
        let handoff = run.plan.steps.get(step).and_then(|planned| planned.handoff.as_ref().zip(Some(planned.actors())));
        let may =
            handoff.is_some_and(|(it, actors)| hops.len() <= it.max as usize && hops.iter().all(|hop| hop.to < actors));
        hold("a_step_is_handed_on_as_it_may_be", may, || format!("{step}: {hops:?}"))?;
        let ascend = hops.windows(2).all(|pair| pair[0].after < pair[1].after);
        hold("each_has_a_turn_before_it_hands_on", ascend, || format!("{step}: {hops:?}"))?;
        let slot = run.slot(Place::whole(step)).filter(|slot| slot.state != SlotState::Done);
        let round = slot.map_or(hops.len(), |slot| slot.round() as usize);
        hold("each_hop_is_a_round", round == hops.len(), || format!("{step}: {round} not {}", hops.len()))
    })
}

fn step_bytes(state: &StepState) -> usize {
    match state {
        StepState::Waiting
        | StepState::Ready
        | StepState::Broken(_)
        | StepState::Skipped
        | StepState::PassedOver { .. } => 0,
        StepState::Abandoned { below, .. } => size_of_val(below.as_slice()),
        StepState::Single(slot) => slot.heap_bytes(),
        StepState::Succeeded { output, .. } => payload_bytes(output),
        StepState::FanOut(fan) => {
            let values = fan.items.iter().chain(&fan.outputs).flatten().map(|v| value_bytes(v)).sum::<usize>();
            fan.frame_bytes() + values + fan.members.iter().map(Slot::heap_bytes).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kapelle_types::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::testing::{entry, fresh, plan};
    use crate::{Stamp, apply};

    /// The invariant that a change breaks, in a run with a step in flight, a fan-out and a step that waits.
    fn broken_by(change: impl FnOnce(&mut Run)) -> &'static str {
        let plan = plan(&json!({"steps": [
            {"id": "a"}, {"id": "each", "foreach": "input", "max_parallel": 1}, {"id": "b", "needs": ["a"]},
        ]}));
        let mut run = fresh(Arc::new(plan));
        let (entry, channel) = entry("submit [1, 2]");
        let _ = apply(&mut run, &entry, channel, Stamp { seq: 1, at: Timestamp::default() });
        assert_eq!(check(&run), Ok(()));
        change(&mut run);
        check(&run).map_or_else(|violation| violation.name, |()| "none")
    }

    #[test]
    fn each_finds_what_it_is_for() {
        let lose = |run: &mut Run| run.in_flight = 0;
        assert_eq!(broken_by(lose), "an_open_run_waits_for_something");
        assert_eq!(broken_by(|run| run.in_flight = 1), "in_flight_is_counted");
        assert_eq!(broken_by(|run| run.heap_bytes += 1), "weight_is_the_sum");
        assert_eq!(broken_by(|run| run.steps[2].state = StepState::Skipped), "needs_end_before_a_step_starts");
        assert_eq!(broken_by(|run| run.steps[2].waits = 0), "waits_counts_open_needs");
        assert_eq!(broken_by(|run| run.active.clear()), "active_steps_are_those_between");
        assert_eq!(broken_by(|run| run.open_steps = 1), "open_steps_are_counted");
        assert_eq!(broken_by(|run| run.open_steps = 9), "open_steps_exist");
        assert_eq!(broken_by(|run| run.set_stuck(Place::whole(0), true)), "stalled_has_a_reason");
        let forgotten = |run: &mut Run| {
            let failure = crate::Failure::of_run(kapelle_types::Code::EXPRESSION_FAILED, String::new());
            run.set_slot(Place::whole(0), SlotState::Broken(Box::new(failure)));
            run.stuck.clear();
        };
        assert_eq!(broken_by(forgotten), "stuck_are_those_that_are");
        let timer = |run: &mut Run| {
            run.timers.insert((Timestamp::default(), Place::whole(0)));
        };
        assert_eq!(broken_by(timer), "timers_are_those_of_the_slots");
        let more = |run: &mut Run| run.fan_out_mut(1).unwrap().in_flight = 2;
        assert_eq!(broken_by(more), "members_stay_within_max_parallel");
        let due = |run: &mut Run| {
            run.fan_out_mut(1).unwrap().due.insert(1);
        };
        assert_eq!(broken_by(due), "members_are_counted");
        let gone = |run: &mut Run| drop(run.fan_out_mut(1).unwrap().items[0].take());
        assert_eq!(broken_by(gone), "an_item_is_kept_until_its_member_is_done");
        let free = |run: &mut Run| {
            run.spending.get_or_insert_default().purses.entry((0, 0)).or_default().spent = Usd::from_micros(1);
        };
        assert_eq!(broken_by(free), "spent_is_the_sum_of_attempts");
        let idle = |run: &mut Run| {
            run.set_slot(Place::whole(0), SlotState::Due);
        };
        assert_eq!(broken_by(idle), "what_can_start_has_started");
    }
}
