//! What people see of a run's steps.

use kapelle_types::{AgentVersion, Attempt, Flow, SignalName, StepId, Timestamp};

use super::place::Place;
use super::run::Run;
use super::slot::{Slot, SlotState};
use super::step::{FanOut, StepState};
use crate::entry::Failure;
use crate::flow;
use crate::plan::{Act, Phase, PlanStep, StepIndex};

/// One step of a run, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSummary<'r> {
    /// Its id.
    pub id: &'r StepId,
    /// What it does: `agent`, `wait`, …
    pub kind: &'static str,
    /// The signal that it waits for.
    pub signal: Option<&'r SignalName>,
    /// When what it waits for is over: its next attempt, a wait, the time for a signal.
    pub due: Option<Timestamp>,
    /// The agent version that does it, if an agent does; the one that did it last if it was handed on.
    pub agent: Option<&'r AgentVersion>,
    /// Who did it before that one, the first first.
    pub chain: Vec<&'r AgentVersion>,
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts dispatched so far; of a `foreach` those of all members.
    pub attempts: Attempt,
    /// The present round of a step that is repeated or handed on, from 0; of a `foreach` each member has its own.
    pub round: Option<u32>,
    /// The members, if it is a `foreach` whose list is known.
    pub members: Option<Members>,
    /// How it stands among others that wait for its agent, if anything is said of that; of a `foreach` what its members have
    /// in common.
    pub flow: Option<Flow>,
    /// The latest failure of a step that has not succeeded.
    pub failure: Option<&'r Failure>,
}

/// How far a `foreach` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Members {
    /// Items of the list.
    pub total: u32,
    /// Members that succeeded.
    pub done: u32,
    /// Members in flight.
    pub running: u32,
}

/// Where a step stands, as people and expressions (`steps.<id>.status`) read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepStatus {
    /// Some of its needs have not ended.
    Waiting,
    /// It may start and is held by a pause.
    Pending,
    /// An attempt is queued or running.
    Running,
    /// It waits for a time or for a signal.
    Awaiting,
    /// It waits for its next attempt.
    Retrying,
    /// It has its output.
    Succeeded,
    /// Its `when` was false.
    Skipped,
    /// It, or a member of it, exhausted its attempts: a dead letter is written, or the run has gone on without it.
    GaveUp,
    /// One of its expressions failed.
    Stalled,
    /// The run ended, or was to end, before it did.
    Canceled,
}

impl StepStatus {
    /// The status as people read it: `GAVE_UP`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Awaiting => "AWAITING",
            Self::Retrying => "RETRYING",
            Self::Succeeded => "SUCCEEDED",
            Self::Skipped => "SKIPPED",
            Self::GaveUp => "GAVE_UP",
            Self::Stalled => "STALLED",
            Self::Canceled => "CANCELED",
        }
    }
}

pub(crate) fn summaries(run: &Run) -> impl Iterator<Item = StepSummary<'_>> {
    run.plan
        .steps
        .iter()
        .enumerate()
        .filter(|(index, plan)| is_shown(run, *index, plan))
        .map(|(index, plan)| summary(run, index, plan))
}

/// What a run does while it is closing is shown when it begins.
fn is_shown(run: &Run, index: StepIndex, plan: &PlanStep) -> bool {
    plan.phase == Phase::Work || run.state(index) != Some(&StepState::Waiting)
}

fn summary<'r>(run: &'r Run, index: StepIndex, plan: &'r PlanStep) -> StepSummary<'r> {
    let state = run.state(index).unwrap_or(&StepState::Waiting);
    let over = is_over(run, index);
    let blank = StepSummary {
        id: &plan.id,
        kind: plan.act.name(),
        signal: None,
        due: None,
        agent: run.doing(Place::whole(index), plan).version(),
        chain: run.before(Place::whole(index)).collect(),
        status: status(run, index),
        attempts: 0,
        round: None,
        members: None,
        flow: flow::shown(run, Place::whole(index), plan),
        failure: None,
    };
    match state {
        StepState::Waiting | StepState::Ready | StepState::Skipped => blank,
        StepState::Broken(failure) => StepSummary { failure: Some(failure), ..blank },
        StepState::Abandoned { attempts, .. } => StepSummary { attempts: *attempts, ..blank },
        StepState::PassedOver { attempts, failure } => {
            StepSummary { attempts: *attempts, failure: Some(failure), ..blank }
        }
        StepState::Single(slot) => StepSummary {
            attempts: slot.attempt,
            failure: slot.failure(),
            round: plan.has_rounds().then(|| slot.round()),
            signal: awaited(plan, &slot.state).filter(|_| !over),
            due: due(&slot.state).filter(|_| !over),
            ..blank
        },
        StepState::FanOut(fan) => {
            let running = if over { 0 } else { fan.in_flight };
            let members = Members { total: fan.total(), done: fan.done, running };
            let failure = stuck_member(run, index).and_then(Slot::failure).or(fan.broken.as_deref());
            StepSummary { attempts: fan.attempts, members: Some(members), failure, ..blank }
        }
        StepState::Succeeded { attempts, members, .. } => {
            let members = members.map(|total| Members { total, done: total, running: 0 });
            StepSummary { attempts: *attempts, members, ..blank }
        }
    }
}

/// The signal that a slot waits for.
const fn awaited<'p>(plan: &'p PlanStep, state: &SlotState) -> Option<&'p SignalName> {
    match (&plan.act, state) {
        (Act::Signal(signal), SlotState::Awaiting(_)) => Some(&signal.name),
        _ => None,
    }
}

/// When what a slot waits for is over.
const fn due(state: &SlotState) -> Option<Timestamp> {
    match state {
        SlotState::Awaiting(due) => *due,
        SlotState::Retrying(due) => Some(*due),
        SlotState::Due | SlotState::InFlight | SlotState::GaveUp(_) | SlotState::Broken(_) | SlotState::Done => None,
    }
}

/// The status of a step.
pub(crate) fn status(run: &Run, step: StepIndex) -> StepStatus {
    let open = match run.state(step) {
        None | Some(StepState::Waiting) => StepStatus::Waiting,
        Some(StepState::Ready) => StepStatus::Pending,
        Some(StepState::Broken(_)) => StepStatus::Stalled,
        Some(StepState::Skipped) => return StepStatus::Skipped,
        Some(StepState::Abandoned { .. }) => return StepStatus::Canceled,
        Some(StepState::PassedOver { .. }) => return StepStatus::GaveUp,
        Some(StepState::Succeeded { .. }) => return StepStatus::Succeeded,
        Some(StepState::Single(slot)) => slot_status(slot),
        Some(StepState::FanOut(fan)) => stuck_member(run, step).map_or_else(|| fan_out_status(fan), slot_status),
    };
    match open {
        StepStatus::GaveUp | StepStatus::Stalled => open,
        _ if is_over(run, step) => StepStatus::Canceled,
        _ => open,
    }
}

/// Whether nothing becomes of a step any more that has not ended.
pub(crate) fn is_over(run: &Run, step: StepIndex) -> bool {
    run.is_finished() || run.is_off(step)
}

fn slot_status(slot: &Slot) -> StepStatus {
    match &slot.state {
        SlotState::Due => StepStatus::Pending,
        SlotState::InFlight => StepStatus::Running,
        SlotState::Awaiting(_) => StepStatus::Awaiting,
        SlotState::Retrying(_) => StepStatus::Retrying,
        SlotState::GaveUp(_) => StepStatus::GaveUp,
        SlotState::Broken(_) => StepStatus::Stalled,
        SlotState::Done => StepStatus::Succeeded,
    }
}

fn fan_out_status(fan: &FanOut) -> StepStatus {
    match (&fan.broken, fan.in_flight, fan.awaiting, fan.retrying) {
        (Some(_), ..) => StepStatus::Stalled,
        (None, 0, 0, 0) => StepStatus::Pending,
        (None, 0, 0, _) => StepStatus::Retrying,
        (None, 0, _, _) => StepStatus::Awaiting,
        (None, ..) => StepStatus::Running,
    }
}

/// The first member of a `foreach` that is stuck.
fn stuck_member(run: &Run, step: StepIndex) -> Option<&Slot> {
    if run.is_off(step)
        && let Some(StepState::FanOut(fan)) = run.state(step)
    {
        let is_stuck = |slot: &&Slot| matches!(slot.state, SlotState::GaveUp(_) | SlotState::Broken(_));
        return fan.members.iter().find(is_stuck);
    }
    let first = run.stuck.range(Place::member(step, 0)..).next()?;
    if first.step == step { run.slot(*first) } else { None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kapelle_types::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::testing::{entry, fresh, plan};
    use crate::{RunStatus, Stamp, apply};

    /// Plays entries and says what people see.
    fn seen(script: &[&str]) -> (RunStatus, Vec<String>) {
        let plan = plan(&json!({"steps": [
            {"id": "a"}, {"id": "b", "needs": ["a"]}, {"id": "c", "when": "input[0] > 1"},
            {"id": "each", "foreach": "input", "max_parallel": 2, "retry": {"max_attempts": 1}},
            {"id": "x", "with": "${input.none}"},
        ]}));
        let mut run = fresh(Arc::new(plan));
        for (seq, text) in (1..).zip(script) {
            let (entry, channel) = entry(text);
            let _ = apply(&mut run, &entry, channel, Stamp { seq, at: Timestamp::from_millis(0) });
        }
        let line = |s: StepSummary<'_>| {
            let members = s.members.map(|m| format!(" {}/{} ({})", m.done, m.total, m.running)).unwrap_or_default();
            let failure = s.failure.map(|f| format!(" {}", f.code)).unwrap_or_default();
            format!("{} {} {}{members}{failure}", s.id, s.status.name(), s.attempts)
        };
        (run.status(), run.steps().map(line).collect())
    }

    #[test]
    fn people_see_where_each_step_stands() {
        let script = ["submit [1, 2, 3]"];
        let expected = ["a RUNNING 1", "b WAITING 0", "c SKIPPED 0", "each RUNNING 2 0/3 (2)", "x STALLED 0 K0302"];
        assert_eq!(seen(&script), (RunStatus::Stalled, expected.map(str::to_owned).to_vec()));

        let script = ["submit [1, 2, 3]", "fail a 1 oops", "ok each:0 1", "fail each:1 1 bad"];
        let expected =
            ["a RETRYING 1 oops", "b WAITING 0", "c SKIPPED 0", "each GAVE_UP 3 1/3 (1) bad", "x STALLED 0 K0302"];
        assert_eq!(seen(&script), (RunStatus::Stalled, expected.map(str::to_owned).to_vec()));

        let script = ["submit [1]", "ok each:0 1", "pause", "ok a 1", "cancel"];
        let expected =
            ["a SUCCEEDED 1", "b CANCELED 0", "c SKIPPED 0", "each SUCCEEDED 1 1/1 (0)", "x STALLED 0 K0302"];
        assert_eq!(seen(&script), (RunStatus::Canceled, expected.map(str::to_owned).to_vec()));
    }
}
