//! `apply`: the normal way of an entry into a run. This file holds the table of what is legal when; the rules of each
//! entry kind stand in the file that bears its name.

mod cancel_requested;
mod fail_requested;
mod pause_requested;
mod resume_requested;
mod retry_requested;
mod run_finished;
mod run_submitted;
mod step_failed;
mod step_succeeded;
mod terminate_requested;
mod timer_fired;

pub(crate) use run_submitted::origin_bytes;

use kapelle_types::limits::ENTRIES_MAX;
use kapelle_types::{StepRef, TaskId};

use crate::command::Command;
use crate::entry::{Body, Channel, Entry, Stamp};
use crate::ignored::Ignored;
use crate::state::{Halt, Place, Run, Slot, SlotState, Stage, StepState, fold};
use crate::turn::Turn;

/// Request ids that a run remembers, so that a request that was written twice counts once. Repeats come within seconds
/// of each other, and nobody steers one run this often in that time.
const REQUESTS_REMEMBERED: usize = 64;

/// What the engine answers to an entry.
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use = "commands that are not performed are work that does not happen"]
pub struct Decision {
    /// What the coordinator shall do, in order. There may be some beside `ignored`: an early timer is set again.
    pub commands: Vec<Command>,
    /// Why the entry changed nothing, if it did not.
    pub ignored: Option<Ignored>,
}

/// Applies one entry to a run.
///
/// The caller gives every entry once and in the order of the log. Total: any entry on any state changes the run, is
/// ignored for a named reason, or stalls the run with a reason.
pub fn apply(run: &mut Run, entry: &Entry, channel: Channel, stamp: Stamp) -> Decision {
    if stamp.seq < run.last_seq {
        return Decision { commands: Vec::new(), ignored: Some(Ignored::Duplicate) };
    }
    run.last_seq = stamp.seq;
    run.entries += 1;
    let too_long = run.entries > ENTRIES_MAX && run.stage() == Stage::Open;
    let mut turn = Turn::new(run, stamp);
    if too_long {
        turn.halt(Halt::TooManyEntries);
    }
    let ignored = transition(&mut turn, entry, channel).err();
    turn.settle();
    let commands = turn.commands;
    if ignored.is_none() {
        run.last_progress = stamp.at;
    }
    Decision { commands, ignored }
}

/// The table of (state, entry). What is not legal has a name.
fn transition(turn: &mut Turn<'_>, entry: &Entry, channel: Channel) -> Result<(), Ignored> {
    if channel != channel_of(&entry.body) {
        return Err(Ignored::WrongChannel);
    }
    let stage = turn.run.stage();
    if stage != Stage::Pending && is_request(&entry.body) && !first_sight(turn.run, &entry.id) {
        return Err(Ignored::Duplicate);
    }
    let who = &entry.principal;
    match (stage, &entry.body) {
        (Stage::Pending, Body::RunSubmitted(submitted)) => run_submitted::apply(turn, entry, submitted),
        (Stage::Pending, _) => Err(Ignored::NotSubmitted),
        (_, Body::RunSubmitted(_)) => Err(Ignored::Duplicate),
        (Stage::Finished, Body::RunFinished(_)) => run_finished::apply(turn),
        (Stage::Finished, _) => Err(Ignored::RunFinished),
        (Stage::Open | Stage::Halted, Body::RunFinished(_)) => Err(Ignored::NotDecided),
        (Stage::Open | Stage::Halted, Body::CancelRequested { reason }) => cancel_requested::apply(turn, who, reason),
        (Stage::Open | Stage::Halted, Body::TerminateRequested { reason }) => {
            terminate_requested::apply(turn, who, reason)
        }
        (Stage::Open | Stage::Halted, Body::FailRequested { reason }) => fail_requested::apply(turn, who, reason),
        (Stage::Open | Stage::Halted, Body::TimerFired { timer }) => timer_fired::apply(turn, timer),
        (Stage::Halted, _) => Err(Ignored::RunHalted),
        (Stage::Open, Body::StepSucceeded(report)) => step_succeeded::apply(turn, report),
        (Stage::Open, Body::StepFailed(report)) => step_failed::apply(turn, report),
        (Stage::Open, Body::PauseRequested { .. }) => pause_requested::apply(turn),
        (Stage::Open, Body::ResumeRequested) => resume_requested::apply(turn),
        (Stage::Open, Body::RetryRequested { steps }) => retry_requested::apply(turn, steps),
    }
}

/// Workers report on tasks; everything else is the control plane's to write.
const fn channel_of(body: &Body) -> Channel {
    match body {
        Body::StepSucceeded(_) | Body::StepFailed(_) => Channel::Report,
        Body::RunSubmitted(_)
        | Body::TimerFired { .. }
        | Body::CancelRequested { .. }
        | Body::TerminateRequested { .. }
        | Body::PauseRequested { .. }
        | Body::ResumeRequested
        | Body::RetryRequested { .. }
        | Body::FailRequested { .. }
        | Body::RunFinished(_) => Channel::Control,
    }
}

/// Whether the entry is somebody's wish, told apart from its repetition by its id alone.
const fn is_request(body: &Body) -> bool {
    match body {
        Body::CancelRequested { .. }
        | Body::TerminateRequested { .. }
        | Body::PauseRequested { .. }
        | Body::ResumeRequested
        | Body::RetryRequested { .. }
        | Body::FailRequested { .. } => true,
        Body::RunSubmitted(_)
        | Body::StepSucceeded(_)
        | Body::StepFailed(_)
        | Body::TimerFired { .. }
        | Body::RunFinished(_) => false,
    }
}

/// Remembers a request's id; false if it is remembered already. A request without an id is always new.
fn first_sight(run: &mut Run, id: &str) -> bool {
    if id.is_empty() {
        return true;
    }
    let hash = fold(run.id.seed(), id.as_bytes());
    if run.requests.contains(&hash) {
        return false;
    }
    if run.requests.len() >= REQUESTS_REMEMBERED {
        run.requests.pop_front();
    }
    run.requests.push_back(hash);
    true
}

/// Finds the step or member that a name means.
fn locate(run: &Run, name: &StepRef) -> Result<Place, Ignored> {
    let step = run.find(&name.step).ok_or(Ignored::UnknownStep)?;
    let is_foreach = run.plan.steps.get(step).is_some_and(|s| s.foreach.is_some());
    let within = match (run.state(step), name.item) {
        (Some(StepState::FanOut(fan)), Some(item)) => item < fan.total(),
        (Some(StepState::Succeeded { members: Some(total), .. }), Some(item)) => item < *total,
        _ => true,
    };
    if is_foreach == name.item.is_some() && within {
        Ok(Place { step, item: name.item })
    } else {
        Err(Ignored::UnknownStep)
    }
}

/// Finds the undecided slot that a report is about, if its attempt was ever dispatched.
fn reported<'r>(run: &'r Run, task: &TaskId) -> Result<(Place, &'r Slot), Ignored> {
    let place = locate(run, &task.step)?;
    if run.state(place.step).is_some_and(StepState::is_ended) {
        return Err(Ignored::AlreadyDecided);
    }
    let slot = run.slot(place).ok_or(Ignored::UnknownAttempt)?;
    if task.attempt == 0 || task.attempt > slot.attempt {
        return Err(Ignored::UnknownAttempt);
    }
    if slot.state == SlotState::Done { Err(Ignored::AlreadyDecided) } else { Ok((place, slot)) }
}
