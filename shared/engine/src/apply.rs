//! `apply`: the normal way of an entry into a run. This file holds the table of what is legal when; the rules of each
//! entry kind stand in the file that bears its name.

mod approval_checked;
mod approval_decided;
mod cancel_requested;
mod fail_requested;
mod pause_requested;
mod resume_requested;
mod retry_requested;
mod run_finished;
mod run_submitted;
mod signal_received;
mod step_failed;
mod step_succeeded;
mod terminate_requested;
mod timer_fired;

pub(crate) use run_submitted::origin_bytes;
pub(crate) use step_failed::give_up;

use kapelle_types::limits::ENTRIES_MAX;
use kapelle_types::{StepRef, TaskId};

use crate::approval;
use crate::behaviour;
use crate::command::Command;
use crate::entry::{Body, Channel, Entry, Stamp, Usage};
use crate::ignored::Ignored;
use crate::spending;
use crate::state::{Halt, Place, Run, Slot, SlotState, Stage, StepState, fold};
use crate::token::TaskToken;
use crate::turn::Turn;

/// Request ids that a run remembers, so that a request that was written twice counts once. Repeats come within seconds
/// of each other, and nobody signals one run this often in that time.
const REQUESTS_REMEMBERED: usize = 4_096;
/// The same before there were signals.
const REQUESTS_REMEMBERED_BEFORE: usize = 64;

/// What the engine answers to an entry.
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use = "commands that are not performed are work that does not happen"]
pub struct Decision {
    /// What the coordinator shall do, in order. There may be some beside `ignored`: an early timer is set again.
    pub commands: Vec<Command>,
    /// Why the entry changed nothing, if it did not.
    pub ignored: Option<Ignored>,
    /// A reported success was taken as a failure: its output breaks the contract.
    pub refused: bool,
    /// The signals that steps have taken now, by the sequences of their entries: this one, or earlier ones that were kept.
    pub taken: Vec<u64>,
}

/// Applies one entry to a run.
///
/// The caller gives every entry once and in the order of the log. Total: any entry on any state changes the run, is
/// ignored for a named reason, or stalls the run with a reason.
pub fn apply(run: &mut Run, entry: &Entry, channel: Channel, stamp: Stamp) -> Decision {
    if stamp.seq < run.last_seq {
        return Decision { ignored: Some(Ignored::Duplicate), ..Decision::default() };
    }
    run.last_seq = stamp.seq;
    // What came before the submission is no entry of the run: it may be removed at any time.
    run.entries += u64::from(run.origin.is_some() || matches!(entry.body, Body::RunSubmitted(_)));
    let too_long = run.entries > ENTRIES_MAX && run.stage() == Stage::Open;
    let mut turn = Turn::new(run, stamp);
    if too_long {
        turn.halt(Halt::TooManyEntries);
    }
    let ignored = transition(&mut turn, entry, channel).err();
    turn.settle();
    let Turn { commands, refused, taken, .. } = turn;
    if ignored.is_none() {
        run.last_progress = stamp.at;
    }
    Decision { commands, ignored, refused, taken }
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
        (Stage::Finished, Body::CancelRequested { .. }) if turn.pass_on(false) => Ok(()),
        (Stage::Finished, Body::TerminateRequested { .. }) if turn.pass_on(true) => Ok(()),
        (Stage::Finished, _) => Err(Ignored::RunFinished),
        (Stage::Open | Stage::Halted, Body::RunFinished(_)) => Err(Ignored::NotDecided),
        (Stage::Open | Stage::Halted, Body::CancelRequested { reason }) => cancel_requested::apply(turn, who, reason),
        (Stage::Open | Stage::Halted, Body::TerminateRequested { reason }) => {
            terminate_requested::apply(turn, who, reason)
        }
        (Stage::Open | Stage::Halted, Body::FailRequested { reason }) => fail_requested::apply(turn, who, reason),
        (Stage::Open | Stage::Halted, Body::TimerFired { timer }) => timer_fired::apply(turn, timer),
        (Stage::Halted, _) => Err(Ignored::RunHalted),
        (Stage::Open, Body::StepSucceeded(report)) => {
            authentic(turn.run, &report.task, report.token.as_ref())?;
            bill(turn.run, &report.task, &report.usage);
            step_succeeded::apply(turn, report)
        }
        (Stage::Open, Body::StepFailed(report)) => {
            authentic(turn.run, &report.task, report.token.as_ref())?;
            bill(turn.run, &report.task, &report.usage);
            step_failed::apply(turn, report)
        }
        (Stage::Open, Body::SignalReceived(signal)) => signal_received::apply(turn, signal),
        (Stage::Open, Body::ApprovalDecided(decided)) => approval_decided::apply(turn, decided),
        (Stage::Open, Body::ApprovalChecked(checked)) => approval_checked::apply(turn, checked),
        (Stage::Open, Body::PauseRequested { .. }) => pause_requested::apply(turn),
        (Stage::Open, Body::ResumeRequested) => resume_requested::apply(turn),
        (Stage::Open, Body::RetryRequested { steps }) => retry_requested::apply(turn, steps),
    }
}

/// Whether a report, or whatever else a worker says, may speak for this task: the run has no key, or the token is shown.
pub(crate) fn authentic(run: &Run, task: &TaskId, token: Option<&TaskToken>) -> Result<(), Ignored> {
    match &run.key {
        Some(key) if !token.is_some_and(|token| key.accepts(task, token)) => Err(Ignored::BadToken),
        Some(_) | None => Ok(()),
    }
}

/// Counts what an attempt cost, whatever becomes of its report: one that comes too late was paid all the same. An attempt
/// that was never dispatched cost nothing.
fn bill(run: &mut Run, task: &TaskId, usage: &Usage) {
    let Ok(place) = locate(run, &task.step) else { return };
    let dispatched = match (run.slot(place), run.state(place.step)) {
        (Some(slot), _) => slot.attempt,
        (
            None,
            Some(
                StepState::Succeeded { attempts, .. }
                | StepState::PassedOver { attempts, .. }
                | StepState::Abandoned { attempts, .. },
            ),
        ) => *attempts,
        (None, _) => 0,
    };
    if (1..=dispatched).contains(&task.attempt) {
        spending::count(run, place, task, usage);
    }
}

/// Workers report on tasks; everything else is the control plane's to write.
const fn channel_of(body: &Body) -> Channel {
    match body {
        Body::StepSucceeded(_) | Body::StepFailed(_) => Channel::Report,
        Body::RunSubmitted(_)
        | Body::TimerFired { .. }
        | Body::SignalReceived(_)
        | Body::ApprovalDecided(_)
        | Body::ApprovalChecked(_)
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
        Body::SignalReceived(_)
        | Body::ApprovalDecided(_)
        | Body::CancelRequested { .. }
        | Body::TerminateRequested { .. }
        | Body::PauseRequested { .. }
        | Body::ResumeRequested
        | Body::RetryRequested { .. }
        | Body::FailRequested { .. } => true,
        Body::RunSubmitted(_)
        | Body::StepSucceeded(_)
        | Body::StepFailed(_)
        | Body::TimerFired { .. }
        | Body::ApprovalChecked(_)
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
    let signals = run.behaviour().is_some_and(|number| number >= behaviour::SIGNALS);
    let remembered = if signals { REQUESTS_REMEMBERED } else { REQUESTS_REMEMBERED_BEFORE };
    if run.requests.len() >= remembered {
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

/// Finds the undecided slot that a report is about, if its attempt was ever dispatched: of steps that no report ends none was.
fn reported<'r>(run: &'r Run, task: &TaskId) -> Result<(Place, &'r Slot), Ignored> {
    let place = locate(run, &task.step)?;
    if run.state(place.step).is_some_and(StepState::is_ended) {
        return Err(Ignored::AlreadyDecided);
    }
    let slot = run.slot(place).ok_or(Ignored::UnknownAttempt)?;
    let is_reported = run.plan.steps.get(place.step).is_some_and(|planned| planned.act.is_reported());
    let begun = if approval::is_asked(run, place) { slot.attempt.saturating_sub(1) } else { slot.attempt };
    if !is_reported || task.attempt == 0 || task.attempt > begun {
        return Err(Ignored::UnknownAttempt);
    }
    if task.attempt <= slot.before() {
        return Err(Ignored::AlreadyDecided);
    }
    if slot.state == SlotState::Done { Err(Ignored::AlreadyDecided) } else { Ok((place, slot)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kapelle_types::Timestamp;
    use kapelle_types::limits::ENTRIES_WARN;
    use serde_json::json;

    use super::*;
    use crate::outstanding::outstanding;
    use crate::testing::{describe, entry, fresh, plan};
    use crate::{Plan, RunStatus};

    fn one_step() -> Plan {
        plan(&json!({"steps": [{"id": "a", "retry": {"max_attempts": 1}}, {"id": "b"}], "deadline_ms": 60_000}))
    }

    /// Applies an entry at a sequence and says what came of it.
    fn told(run: &mut Run, text: &str, seq: u64) -> String {
        let (entry, channel) = entry(text);
        let decision = apply(run, &entry, channel, Stamp { seq, at: Timestamp::from_millis(100_000) });
        let lines = decision.ignored.iter().map(|i| i.name().to_owned()).chain(decision.commands.iter().map(describe));
        lines.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn workers_report_and_the_control_plane_does_the_rest() {
        let mut run = fresh(Arc::new(one_step()));
        for (seq, text) in (1..).zip(["submit", "cancel", "fire deadline", "ok a 1", "lost a 1", "finished"]) {
            let (entry, channel) = entry(text);
            let other = if channel == Channel::Control { Channel::Report } else { Channel::Control };
            let decision = apply(&mut run, &entry, other, Stamp { seq, at: Timestamp::default() });
            assert_eq!(decision, Decision { ignored: Some(Ignored::WrongChannel), ..Decision::default() }, "{text}");
        }
        assert_eq!(run.status(), RunStatus::Pending);
    }

    #[test]
    fn a_record_that_was_applied_is_a_duplicate_and_one_record_may_carry_several_entries() {
        let mut run = fresh(Arc::new(one_step()));
        assert!(told(&mut run, "submit", 5).ends_with("dispatch a#1 {}, dispatch b#1 {}"));
        assert_eq!(told(&mut run, "ok a 1", 4), "duplicate");
        assert_eq!(told(&mut run, "ok a 1", 5), "");
        assert_eq!((run.entries(), run.last_seq()), (2, 5));
    }

    #[test]
    fn request_ids_are_remembered_for_a_while() {
        let mut run = fresh(Arc::new(one_step()));
        told(&mut run, "submit", 1);
        assert_eq!(told(&mut run, "resume id=first", 2), "not_paused");
        assert_eq!(told(&mut run, "resume id=first", 3), "duplicate");
        for seq in 0..2 * REQUESTS_REMEMBERED as u64 {
            assert_eq!(told(&mut run, &format!("resume id={seq}"), 4 + seq), "not_paused");
        }
        assert_eq!(run.requests.len(), REQUESTS_REMEMBERED);
        assert_eq!(told(&mut run, "resume id=first", 20_000), "not_paused");
    }

    #[test]
    fn a_log_that_is_too_long_halts_the_run_until_somebody_ends_it() {
        let mut run = fresh(Arc::new(one_step()));
        told(&mut run, "submit", 1);
        told(&mut run, "fail a 1", 2);
        for seq in 3..=ENTRIES_MAX {
            assert_eq!(run.is_long(), seq > ENTRIES_WARN);
            assert_eq!(told(&mut run, "resume", seq), "not_paused");
        }
        assert_eq!(told(&mut run, "ok b 1", ENTRIES_MAX + 1), "run_halted, withdraw b#1");
        assert_eq!((run.status(), run.in_flight()), (RunStatus::Stalled, 0));
        assert_eq!(run.stall_reason().map(|f| f.code), Some("K0304".to_owned()));
        for refused in ["retry", "pause", "ok a 1", "lost b 1", "fire retry=b=2"] {
            assert_eq!(told(&mut run, refused, ENTRIES_MAX + 2), "run_halted", "{refused}");
        }
        let waits: Vec<_> = outstanding(&run, Timestamp::default()).iter().map(describe).collect();
        let letter = "dead letter a#1 {} oops, history [\"a#1 oops\"]";
        assert_eq!(waits, ["withdraw b#1", "start timer deadline at 160000", letter]);
        let ended = told(&mut run, "giveup", ENTRIES_MAX + 3);
        assert!(ended.contains("remove dead letter a, cancel timer deadline, finish FAILED"), "{ended}");
    }

    #[test]
    fn what_this_engine_cannot_decide_is_halted_with_a_reason() {
        let (mut submitted, channel) = entry("submit");
        let Body::RunSubmitted(body) = &mut submitted.body else { unreachable!("it is a submission") };
        body.behaviour = 99;
        let forward = |mut plan: Plan| {
            plan.steps[0].needs = vec![1];
            plan
        };
        let cases = [
            (submitted.clone(), one_step(), "behaviour 99"),
            (entry("submit").0, forward(one_step()), "not the one"),
            (entry("submit").0, Plan { workflow: "other@1.0.0".parse().unwrap(), ..one_step() }, "not the one"),
        ];
        for (entry, plan, reason) in cases {
            let mut run = fresh(Arc::new(plan));
            let decision = apply(&mut run, &entry, channel, Stamp::default());
            assert_eq!(decision, Decision::default());
            let stall = run.stall_reason().unwrap();
            assert!(stall.code == "K0307" && stall.message.contains(reason), "{stall:?}");
            assert!(told(&mut run, "cancel", 1).contains("finish CANCELED"));
        }
    }
}
