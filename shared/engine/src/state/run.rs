//! One run: what the coordinator holds of it in its cache, and what it may ask.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kapelle_types::limits::ENTRIES_WARN;
use kapelle_types::{RunId, SignalName, StepId, TaskId, Timestamp};

use super::halt::Halt;
use super::origin::Origin;
use super::place::{Dependants, Place};
use super::step::{Step, StepState};
use super::summary::{StepSummary, summaries};
use super::{Chains, Closing, RunStatus, slot};
use crate::approval::Approvals;
use crate::entry::{Failure, RunFinished};
use crate::plan::{Act, ActorIndex, Phase, Plan, StepIndex};
use crate::signals::Signals;
use crate::spending::Spending;
use crate::token::{RunKey, TaskToken};

/// A run's state. Built by [`crate::apply`] from the run's entries, in order; nothing else changes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub(crate) id: RunId,
    pub(crate) plan: Arc<Plan>,
    /// What the tokens of its tasks derive from.
    pub(crate) key: Option<RunKey>,
    pub(crate) dependants: Dependants,
    pub(crate) origin: Option<Box<Origin>>,
    pub(crate) steps: Vec<Step>,
    /// Steps of the work that have not ended.
    pub(crate) open_steps: usize,
    /// Steps whose needs have ended and which have not, in order.
    pub(crate) active: Vec<StepIndex>,
    /// Attempts that were dispatched and are undecided.
    pub(crate) in_flight: usize,
    /// Pending timers of slots: retries, waits, the ends of waiting for a signal.
    pub(crate) timers: BTreeSet<(Timestamp, Place)>,
    /// What waits for a time or a signal.
    pub(crate) awaiting: BTreeSet<Place>,
    /// Signals that came before anybody waited for them; most runs have none.
    pub(crate) signals: Option<Box<Signals>>,
    /// What people are asked, and agreed to; most runs ask nobody.
    pub(crate) approvals: Option<Box<Approvals>>,
    /// What keeps the run STALLED: steps and members that gave up or whose expressions failed.
    pub(crate) stuck: BTreeSet<Place>,
    /// What gave up and was retried or succeeded after all, and who had done it: its dead letter is done with. Kept, since the
    /// command that removes the letter may be lost.
    pub(crate) revived: BTreeSet<(Place, ActorIndex)>,
    /// Why the output could not be computed.
    pub(crate) broken_output: Option<Box<Failure>>,
    /// What agents with a `cost_per_run` have spent; most runs have none.
    pub(crate) spending: Option<Box<Spending>>,
    /// How steps were handed on; most runs have none.
    pub(crate) chains: Option<Box<Chains>>,
    /// Compensations of what succeeded, in the order of success; the last is begun first. Most runs have none.
    pub(crate) undo: Vec<StepIndex>,
    /// How it is to end, while its last steps are done; kept when it has ended.
    pub(crate) closing: Option<Box<Closing>>,
    /// Whoever ended it ended the run that goes on in its place, too; true if at once.
    pub(crate) passed_on: Option<bool>,
    pub(crate) paused: bool,
    pub(crate) halt: Option<Halt>,
    pub(crate) outcome: Option<Box<RunFinished>>,
    pub(crate) marked: bool,
    /// Hashes of the latest request ids.
    pub(crate) requests: VecDeque<u64>,
    pub(crate) last_seq: u64,
    pub(crate) entries: u64,
    pub(crate) last_progress: Timestamp,
    /// What hangs on the run beside its fixed parts, kept up to date with every change.
    pub(crate) heap_bytes: usize,
}

/// The coarse state that decides which entries are legal at all: the rows of the table in `apply.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Pending,
    Open,
    Halted,
    Finished,
}

impl Run {
    /// A run of which nothing is known yet: PENDING.
    #[must_use]
    pub fn new(id: RunId, plan: Arc<Plan>) -> Self {
        let dependants = Dependants::of(&plan);
        let halt = dependants.is_none().then_some(Halt::PlanMismatch);
        let steps: Vec<_> =
            plan.steps.iter().map(|s| Step { waits: s.needs.len(), state: StepState::Waiting }).collect();
        Self {
            id,
            dependants: dependants.unwrap_or_default(),
            origin: None,
            open_steps: plan.steps.iter().filter(|step| step.phase == Phase::Work).count(),
            steps,
            plan,
            key: None,
            active: Vec::new(),
            in_flight: 0,
            timers: BTreeSet::new(),
            awaiting: BTreeSet::new(),
            signals: None,
            approvals: None,
            stuck: BTreeSet::new(),
            revived: BTreeSet::new(),
            broken_output: None,
            spending: None,
            chains: None,
            undo: Vec::new(),
            closing: None,
            passed_on: None,
            paused: false,
            halt,
            outcome: None,
            marked: false,
            requests: VecDeque::new(),
            last_seq: 0,
            entries: 0,
            last_progress: Timestamp::default(),
            heap_bytes: 0,
        }
    }

    /// The same run with the key that its submission names: its reports need tokens.
    #[must_use]
    pub fn with_key(self, key: Option<RunKey>) -> Self {
        Self { key, ..self }
    }

    /// What speaks for one of its attempts; `None` if its reports need no tokens.
    #[must_use]
    pub fn token(&self, task: &TaskId) -> Option<TaskToken> {
        self.key.as_ref().map(|key| key.token(task))
    }

    /// The same run before its first entry.
    #[must_use]
    pub fn before_its_log(&self) -> Self {
        Self::new(self.id, Arc::clone(&self.plan)).with_key(self.key.clone())
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> RunId {
        self.id
    }

    /// The plan that decides it.
    #[must_use]
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Where it stands. STALLED is shown before PAUSED, PAUSED before WAITING.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        match (&self.outcome, self.origin.is_some()) {
            (Some(outcome), _) => outcome.status,
            (None, false) => RunStatus::Pending,
            (None, true) if self.is_stalled() => RunStatus::Stalled,
            (None, true) if self.paused => RunStatus::Paused,
            (None, true) if self.in_flight == 0 && self.waits() => RunStatus::Waiting,
            (None, true) => RunStatus::Running,
        }
    }

    /// Whether the outcome is decided.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.outcome.is_some()
    }

    /// Whether the log carries the mark of the outcome, so that nothing is left to do.
    #[must_use]
    pub const fn is_marked(&self) -> bool {
        self.marked
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Option<&RunFinished> {
        self.outcome.as_deref()
    }

    /// Why it is STALLED: a `K03xx` code and a sentence that names the step. The first by step order if there are several.
    #[must_use]
    pub fn stall_reason(&self) -> Option<Failure> {
        if self.origin.is_none() || self.is_finished() {
            return None;
        }
        if let Some(halt) = self.halt {
            return Some(halt.failure());
        }
        let of_step = || self.stuck.first().and_then(|place| self.stuck_failure(*place));
        of_step().or_else(|| self.broken_output.as_deref().cloned())
    }

    /// The sequence of the last record that was applied.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// How many entries were applied, ignored ones included: the length of its log.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether its log is long enough for a warning.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.entries >= ENTRIES_WARN
    }

    /// The signals that its steps wait for now, one for each place that waits.
    pub fn awaited_signals(&self) -> impl Iterator<Item = &SignalName> {
        self.awaiting.iter().filter_map(|place| match &self.plan.steps.get(place.step)?.act {
            Act::Signal(signal) => Some(&signal.name),
            Act::Agent(_)
            | Act::Emit(_)
            | Act::Workflow(_)
            | Act::Value
            | Act::Switch(_)
            | Act::Wait(_)
            | Act::Approval(_) => None,
        })
    }

    /// When it was submitted.
    #[must_use]
    pub fn submitted_at(&self) -> Option<Timestamp> {
        self.origin.as_ref().map(|o| o.at)
    }

    /// When an entry last changed something.
    #[must_use]
    pub const fn last_progress(&self) -> Timestamp {
        self.last_progress
    }

    /// Whether something is waited for beside reports.
    pub(crate) fn waits(&self) -> bool {
        !self.timers.is_empty() || !self.awaiting.is_empty()
    }

    /// When its earliest pending timer is due: of a step or the deadline.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let retry = self.timers.first().map(|(due, _)| *due);
        let deadline = self.deadline().filter(|_| !self.is_finished());
        retry.into_iter().chain(deadline).min()
    }

    /// When it ends at the latest: TIMED_OUT, if its workflow has a deadline and it was submitted; or as it is to, once it
    /// is closing.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        if let Some(closing) = &self.closing {
            return Some(closing.at.plus(self.plan.close_within));
        }
        self.submitted_at().zip(self.plan.deadline).map(|(at, after)| at.plus(after))
    }

    /// How it is to end, if that is decided and its last steps are being done: compensations, `on_failure`, `finally`.
    #[must_use]
    pub fn closing(&self) -> Option<RunStatus> {
        self.closing.as_ref().filter(|_| !self.is_finished()).map(|closing| closing.status)
    }

    /// Whether a step of the work is over because the run is closing: nothing of it begins or counts any more.
    pub(crate) fn is_off(&self, step: StepIndex) -> bool {
        self.closing.is_some() && self.plan.steps.get(step).is_some_and(|planned| planned.phase == Phase::Work)
    }

    /// Attempts that were dispatched and are undecided.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The longest timeout of what is in flight; zero if nothing is. A run that is silent for much longer lost something.
    #[must_use]
    pub fn slowest_timeout(&self) -> Duration {
        let flying = |step: &&StepIndex| self.step_in_flight(**step) > 0;
        let timeout = |step: &StepIndex| Some(self.doing(Place::whole(*step), self.plan.steps.get(*step)?).timeout);
        if self.in_flight == 0 {
            return Duration::ZERO;
        }
        self.active.iter().filter(flying).filter_map(timeout).max().unwrap_or_default()
    }

    /// About how many bytes of memory the run holds, for a bounded cache. Shared plans are not counted. Constant time.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let sets = size_of::<(Timestamp, Place)>()
            * (self.timers.len() + self.awaiting.len() + self.stuck.len() + self.revived.len());
        let chains = self.chains.as_ref().map_or(0, |it| it.weight_bytes());
        let fixed = size_of::<Self>() + self.steps.len() * size_of::<Step>() + self.dependants.bytes();
        let spending = self.spending.as_ref().map_or(0, |it| it.weight_bytes());
        let signals = self.signals.as_ref().map_or(0, |it| it.weight_bytes());
        let approvals = self.approvals.as_ref().map_or(0, |it| it.weight_bytes());
        let closing = self.closing.as_ref().map_or(0, |it| it.weight_bytes());
        let places = size_of::<StepIndex>() * (self.active.len() + self.undo.len());
        fixed + sets + spending + chains + signals + approvals + closing + places + self.heap_bytes
    }

    /// Its steps, for people, in the plan's order.
    pub fn steps(&self) -> impl Iterator<Item = StepSummary<'_>> {
        summaries(self)
    }

    /// Whether it stands still for ever, whatever is asked of it but its end: its log is too long, its plan another.
    #[must_use]
    pub const fn is_halted(&self) -> bool {
        matches!(self.stage(), Stage::Halted)
    }

    pub(crate) const fn stage(&self) -> Stage {
        match (&self.origin, &self.outcome, self.halt) {
            (_, Some(_), _) => Stage::Finished,
            (None, None, _) => Stage::Pending,
            (Some(_), None, Some(_)) => Stage::Halted,
            (Some(_), None, None) => Stage::Open,
        }
    }

    /// Whether nothing may be dispatched.
    pub(crate) const fn is_held(&self) -> bool {
        self.paused || self.halt.is_some() || self.outcome.is_some()
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.halt.is_some() || !self.stuck.is_empty() || self.broken_output.is_some()
    }

    /// The place of a step in the plan. Plans have few steps, and ids differ early: a scan beats a map per run.
    pub(crate) fn find(&self, id: &StepId) -> Option<StepIndex> {
        self.plan.steps.iter().position(|s| s.id == *id)
    }

    pub(crate) fn state(&self, step: StepIndex) -> Option<&StepState> {
        self.steps.get(step).map(|s| &s.state)
    }

    pub(super) fn step_in_flight(&self, step: StepIndex) -> u32 {
        match self.state(step) {
            Some(StepState::FanOut(fan)) => fan.in_flight,
            Some(StepState::Single(slot)) => u32::from(slot.state == slot::SlotState::InFlight),
            _ => 0,
        }
    }

    /// The sentence that a person reads about something stuck.
    fn stuck_failure(&self, place: Place) -> Option<Failure> {
        let name = place.name(&self.plan)?;
        match (self.state(place.step)?, self.slot(place)) {
            (StepState::Broken(failure), _) => Some((**failure).clone()),
            (StepState::FanOut(fan), None) => fan.broken.as_deref().cloned(),
            (_, Some(slot::Slot { state: slot::SlotState::Broken(failure), .. })) => Some((**failure).clone()),
            (_, Some(slot)) => Some(Failure::gave_up(&name, slot.attempt, slot.failure()?)),
            (_, None) => None,
        }
    }
}
