//! What a run waits for, as its log has it: the first thing that would let it go on, for people to read. What its agents'
//! queues and workers look like meanwhile is for whoever asks to add.

use std::collections::BTreeMap;

use kapelle_types::{AgentVersion, RunId, SignalName, StepRef, TaskId, Timestamp, WorkflowVersion};

use crate::entry::Failure;
use crate::finish::each_slot;
use crate::plan::Act;
use crate::state::{Place, Run, RunStatus, Slot, SlotState};

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// Nothing is known of it yet.
    Submission,
    /// It has ended.
    Nothing,
    /// Somebody has to mend something: it is STALLED.
    Mending(Mending),
    /// Somebody has to let it go on: it is PAUSED.
    Resume,
    /// The next attempts of steps that failed.
    Retries {
        /// The step whose timer is the earliest.
        step: StepRef,
        /// When that is.
        due: Timestamp,
        /// The code that its latest attempt failed with.
        after: String,
        /// How many steps and members wait for a timer.
        total: usize,
    },
    /// Persons, who have to agree to what a step would do.
    People {
        /// The first step or member that is held.
        step: StepRef,
        /// Who may agree: members of these groups; anybody who may decide at all if there are none.
        groups: Vec<String>,
        /// How many more have to.
        missing: usize,
        /// Since when it is held.
        since: Timestamp,
        /// When it is denied.
        expires: Timestamp,
        /// How many steps and members are held.
        total: usize,
    },
    /// Somebody outside, who has to send a signal.
    Signal {
        /// The first step or member that waits for one.
        step: StepRef,
        /// Which one.
        signal: SignalName,
        /// When it gives up, if it does.
        due: Option<Timestamp>,
        /// How many steps and members wait for a signal.
        total: usize,
    },
    /// A time.
    Time {
        /// The step or member whose time comes first.
        step: StepRef,
        /// When that is.
        due: Timestamp,
        /// How many steps and members wait for a timer.
        total: usize,
    },
    /// Runs that it began, where no agent works beside them.
    Runs {
        /// The first step or member that waits for one.
        step: StepRef,
        /// Which one.
        run: RunId,
        /// Of what.
        workflow: WorkflowVersion,
        /// Since when, at the latest.
        since: Timestamp,
        /// How many steps and members wait for one.
        total: usize,
    },
    /// Agents, each with its tasks, the longest waited for first.
    Agents(Vec<AgentWait>),
}

/// What has to be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mending {
    /// The step or member; `None` if it is the run as a whole.
    pub step: Option<StepRef>,
    /// What went wrong, as a code.
    pub code: String,
    /// Attempts of a step that gave up; 0 if it did not come to that.
    pub attempts: u32,
    /// Since when, if the run remembers.
    pub since: Option<Timestamp>,
    /// How many steps and members are stuck.
    pub total: usize,
    /// Whether a retry may help; otherwise the run can only be ended.
    pub retryable: bool,
}

/// Tasks of one agent that are queued or running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentWait {
    /// The agent version.
    pub agent: AgentVersion,
    /// The attempt that is waited for longest.
    pub task: TaskId,
    /// Since when, at the latest.
    pub since: Timestamp,
    /// How many tasks it has in this run.
    pub tasks: usize,
}

/// What a run waits for.
#[must_use]
pub fn waits(run: &Run) -> Waits {
    match run.status() {
        RunStatus::Pending => Waits::Submission,
        RunStatus::Completed
        | RunStatus::Failed
        | RunStatus::Canceled
        | RunStatus::Terminated
        | RunStatus::TimedOut => Waits::Nothing,
        RunStatus::Stalled => Waits::Mending(mending(run)),
        RunStatus::Paused => Waits::Resume,
        RunStatus::Waiting => {
            people(run).or_else(|| signal(run)).or_else(|| timer(run)).unwrap_or(Waits::Agents(Vec::new()))
        }
        RunStatus::Running => match agents(run) {
            none if none.is_empty() => runs(run).unwrap_or(Waits::Agents(none)),
            agents => Waits::Agents(agents),
        },
    }
}

/// What one slot keeps its run waiting for.
#[derive(Debug, PartialEq)]
enum SlotWaits {
    /// Room, or that the run is let go on: nothing of its own.
    Turn,
    Agent,
    Timer(Timestamp),
    Outside,
    Mending(Option<Timestamp>),
    Nothing,
}

const fn slot_waits(state: &SlotState) -> SlotWaits {
    match state {
        SlotState::Due => SlotWaits::Turn,
        SlotState::InFlight => SlotWaits::Agent,
        SlotState::Retrying(due) => SlotWaits::Timer(*due),
        SlotState::Awaiting(_) => SlotWaits::Outside,
        SlotState::GaveUp(at) => SlotWaits::Mending(Some(*at)),
        SlotState::Broken(_) => SlotWaits::Mending(None),
        SlotState::Done => SlotWaits::Nothing,
    }
}

/// The first by step order, as [`Run::stall_reason`] has it.
fn mending(run: &Run) -> Mending {
    let code = run.stall_reason().map(|failure| failure.code).unwrap_or_default();
    let whole = Mending { step: None, code, attempts: 0, since: None, total: 1, retryable: run.halt.is_none() };
    let Some(place) = run.stuck.first().filter(|_| run.halt.is_none()) else { return whole };
    let step = place.name(&run.plan);
    let total = run.stuck.len();
    match run.slot(*place) {
        Some(slot) => {
            let since = if let SlotWaits::Mending(since) = slot_waits(&slot.state) { since } else { None };
            let gave_up = since.is_some();
            let code = slot.failure().filter(|_| gave_up).map_or_else(|| whole.code.clone(), |f| f.code.clone());
            Mending { step, code, attempts: if gave_up { slot.attempt } else { 0 }, since, total, ..whole }
        }
        None => Mending { step, total, ..whole },
    }
}

fn people(run: &Run) -> Option<Waits> {
    let mut held = run.held();
    let first = held.next()?;
    Some(Waits::People {
        missing: (first.approval.quorum as usize).saturating_sub(first.agreed.len()),
        groups: first.approval.groups.clone(),
        step: first.step,
        since: first.asked_at,
        expires: first.expires,
        total: 1 + held.count(),
    })
}

fn signal(run: &Run) -> Option<Waits> {
    let names = |place: &Place| match &run.plan.steps.get(place.step)?.act {
        Act::Signal(signal) => Some((*place, signal.name.clone())),
        Act::Agent(_)
        | Act::Emit(_)
        | Act::Workflow(_)
        | Act::Value
        | Act::Switch(_)
        | Act::Wait(_)
        | Act::Approval(_) => None,
    };
    let mut waiting = run.awaiting.iter().filter_map(names);
    let (place, signal) = waiting.next()?;
    let due = match run.slot(place)?.state {
        SlotState::Awaiting(due) => due,
        _ => None,
    };
    Some(Waits::Signal { step: place.name(&run.plan)?, signal, due, total: 1 + waiting.count() })
}

fn timer(run: &Run) -> Option<Waits> {
    let (due, place) = run.timers.first()?;
    if run.awaiting.contains(place) {
        return Some(Waits::Time { step: place.name(&run.plan)?, due: *due, total: run.timers.len() });
    }
    let after = run.slot(*place).and_then(Slot::failure).map(|failure: &Failure| failure.code.clone());
    let step = place.name(&run.plan)?;
    Some(Waits::Retries { step, due: *due, after: after.unwrap_or_default(), total: run.timers.len() })
}

fn agents(run: &Run) -> Vec<AgentWait> {
    let mut found: BTreeMap<&AgentVersion, AgentWait> = BTreeMap::new();
    each_slot(run, |place, slot| {
        let Some(planned) = run.plan.steps.get(place.step) else { return };
        let (SlotWaits::Agent, Some(task)) = (slot_waits(&slot.state), place.task(&run.plan, slot.attempt)) else {
            return;
        };
        let Some(agent) = run.doing(place, planned).version() else { return };
        let since = since(slot);
        let wait = found.entry(agent).or_insert_with(|| AgentWait {
            agent: agent.clone(),
            task: task.clone(),
            since,
            tasks: 0,
        });
        wait.tasks += 1;
        if since < wait.since {
            (wait.since, wait.task) = (since, task);
        }
    });
    let mut found: Vec<AgentWait> = found.into_values().collect();
    found.sort_by_key(|wait| wait.since);
    found
}

fn runs(run: &Run) -> Option<Waits> {
    let mut found = None;
    each_slot(run, |place, slot| {
        let Some(workflow) = run.plan.steps.get(place.step).and_then(|planned| planned.runs()) else { return };
        let (SlotState::InFlight, Some(task)) = (&slot.state, place.task(&run.plan, slot.attempt)) else { return };
        if run.is_off(place.step) {
            return;
        }
        match &mut found {
            Some(Waits::Runs { total, .. }) => *total += 1,
            _ => {
                found = Some(Waits::Runs {
                    run: RunId::of_attempt(run.id(), &task),
                    step: task.step,
                    workflow: workflow.clone(),
                    since: since(slot),
                    total: 1,
                });
            }
        }
    });
    found
}

/// When the attempt that is in flight was dispatched, at the latest: when the first was, or the one before it failed.
fn since(slot: &Slot) -> Timestamp {
    let failed = slot.trouble.as_ref().and_then(|trouble| trouble.history.last()).map(|(_, at, _)| *at);
    failed.into_iter().chain(slot.first_at).max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
