//! A second opinion on `apply`: who is in flight, which budget is burnt and what may be dispatched, counted from entries and
//! commands alone, by rules that are written down here once more and share no code with the engine.

mod given_up;
mod hands;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kapelle_engine::{
    Body, Command, Decision, DispatchTask, Entry, FailureKind, Ignored, OnGiveUp, Phase, Plan, PlanStep, Run, Stamp,
    StepFailed, StepStatus, TimerId,
};
use kapelle_types::limits::LEASE_LOST_MAX;
use kapelle_types::{Payload, StepId, StepRef, TaskId, Timestamp};
use serde_json::Value;

use super::closing::Last;
use super::costs::Costs;
use super::joins::Joins;
use super::questions::Questions;
use super::rounds::{self, After};

pub(crate) use hands::has_total;

/// What is wrong: the invariant's name and what was found.
pub(crate) type Wrong = (&'static str, String);

/// How early a timer may count.
const EARLY: Duration = Duration::from_millis(251);

/// All slots of a run.
pub(crate) struct Slots {
    plan: Arc<Plan>,
    slots: BTreeMap<StepRef, Slot>,
    not_before: BTreeMap<TaskId, Timestamp>,
    paused: bool,
    ended: bool,
    submitted_at: Timestamp,
    /// Steps that another run did.
    kept: BTreeSet<StepId>,
    pub(crate) costs: Costs,
    pub(crate) joins: Joins,
    questions: Questions,
    /// Steps that were taken back by an entry before.
    over: BTreeSet<StepId>,
    pub(crate) asked_to_end: bool,
    last: Last,
}

#[derive(Default)]
struct Slot {
    attempts: u32,
    in_flight: bool,
    done: bool,
    counted: u32,
    lost: u32,
    /// No attempt is allowed until somebody asks for it.
    exhausted: bool,
    /// It gave up, and the run goes on without it.
    passed: bool,
    /// Its dead letter was written.
    gave_up: bool,
    /// The present round, from 0, and the last attempt of the one before.
    round: u32,
    before: u32,
    /// Whom it was handed to, of those whom it may be handed to, each with the last attempt before.
    hops: Vec<(usize, u32)>,
}

impl Slots {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            slots: BTreeMap::new(),
            not_before: BTreeMap::new(),
            paused: false,
            ended: false,
            submitted_at: Timestamp::default(),
            kept: BTreeSet::new(),
            costs: Costs::new(plan),
            joins: Joins::new(plan),
            questions: Questions::new(plan),
            over: BTreeSet::new(),
            asked_to_end: false,
            last: Last::new(plan),
        }
    }

    /// Whether another run did a step.
    pub(crate) fn is_kept(&self, step: &StepId) -> bool {
        self.kept.contains(step)
    }

    /// The attempts of a step or member that were dispatched.
    pub(crate) fn attempts(&self, step: &StepRef) -> u32 {
        self.slots.get(step).map_or(0, |slot| slot.attempts)
    }

    /// Whether every slot that was ever used succeeded.
    pub(crate) fn all_done(&self) -> bool {
        self.slots.iter().all(|(step, slot)| slot.done || self.may_be_passed_over(step))
    }

    /// Whether some slot is out of attempts.
    pub(crate) fn some_exhausted(&self) -> bool {
        self.slots.values().any(|slot| slot.exhausted && !slot.done)
    }

    /// A report says what an attempt cost. It counts whatever becomes of it, unless the run is over.
    fn pay(&mut self, task: &TaskId, cost_usd: f64, shown: bool) {
        let dispatched = self.slots.get(&task.step).filter(|s| (1..=s.attempts).contains(&task.attempt));
        let agent = dispatched.zip(self.planned(&task.step)).and_then(|(s, planned)| s.agent_of(planned, task.attempt));
        if let Some(agent) = agent.cloned().filter(|_| shown && !self.ended) {
            self.costs.pay(task, agent, cost_usd);
        }
    }

    /// Attempts that are in flight by this count.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = TaskId> {
        let flying = self.slots.iter().filter(|(step, slot)| slot.in_flight && !self.ended && !self.last.is_over(step));
        flying.map(|(step, slot)| TaskId { step: step.clone(), attempt: slot.attempts })
    }

    /// When the run ends at the latest, if it has a deadline; once it is closing it has one of its own.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.last.due.or_else(|| self.work_deadline())
    }

    /// When it is decided at the latest how the run ends.
    pub(crate) fn work_deadline(&self) -> Option<Timestamp> {
        self.plan.deadline.map(|after| self.submitted_at.plus(after))
    }

    /// Judges what the engine made of an entry.
    pub(crate) fn judge(
        &mut self,
        run: &Run,
        entry: &Entry,
        on_report: bool,
        stamp: Stamp,
        decision: &Decision,
    ) -> Result<(), Wrong> {
        let (ignored, at, body) = (decision.ignored, stamp.at, &entry.body);
        match body {
            Body::StepSucceeded(report) => {
                let shown = on_report && report.token == run.token(&report.task);
                self.pay(&report.task, report.usage.cost_usd, shown);
                self.succeeded(run, &report.task, report.output.value.as_deref(), shown, ignored)?;
            }
            Body::StepFailed(report) => {
                let shown = on_report && report.token == run.token(&report.task);
                self.pay(&report.task, report.usage.cost_usd, shown);
                self.failed(run, report, shown, ignored)?;
            }
            Body::ApprovalDecided(_) | Body::ApprovalChecked(_) | Body::TimerFired { .. } => {
                self.questioned(run, entry, stamp, decision)?;
            }
            Body::RunSubmitted(submitted) if ignored.is_none() => {
                self.submitted_at = at;
                self.kept = submitted.kept.iter().map(|kept| kept.step.clone()).collect();
            }
            Body::PauseRequested { .. } if ignored.is_none() => self.paused = true,
            Body::ResumeRequested if ignored.is_none() => self.paused = false,
            Body::RetryRequested { steps } if ignored.is_none() => self.renew(steps),
            Body::CancelRequested { .. } | Body::TerminateRequested { .. } | Body::FailRequested { .. } => {
                self.asked_to_end |= ignored.is_none();
            }
            _ => {}
        }
        self.last.judge(run, at, &decision.commands)?;
        self.paused &= self.last.due.is_none();
        // What one entry begins and takes back is begun first.
        let taken = self.joins.look(run)?;
        for command in &decision.commands {
            match command {
                Command::DispatchTask(task) => self.dispatched(run, task, at)?,
                Command::EmitEvent(event) => {
                    self.begun(run, &event.task, &event.data, at)?;
                }
                Command::StartRun(start) => {
                    self.begun(run, &start.parent.task, &start.input, at)?;
                }
                Command::StartTimer { timer: TimerId::Wake(task), due } => self.asked(run, task, *due, at)?,
                Command::StartTimer { timer: TimerId::Retry(task), due } => {
                    self.not_before.insert(task.clone(), *due);
                }
                Command::WriteDeadLetter(letter) => self.gave_up(&letter.task.step)?,
                Command::FinishRun(_) => {
                    hold("a_run_is_decided_once", !self.ended, || format!("{body:?}"))?;
                    self.ended = true;
                }
                _ => {}
            }
        }
        taken.iter().for_each(|step| self.take_back(step));
        if !self.ended && self.last.due.is_none() {
            self.questions.compare(run)?;
        }
        hold("ended_is_finished", self.ended == run.is_finished(), || format!("{body:?}"))
    }

    /// `shown`: on the subject of reports, with the token of its task.
    fn succeeded(
        &mut self,
        run: &Run,
        task: &TaskId,
        output: Option<&Value>,
        shown: bool,
        ignored: Option<Ignored>,
    ) -> Result<(), Wrong> {
        let ended = self.ended;
        let planned = self.plan.steps.iter().find(|s| s.id == task.step.step);
        let passed_over = self.may_be_passed_over(&task.step);
        let never_begun = u32::from(self.questions.is_open(&task.step));
        let slot = self.slots.get_mut(&task.step);
        let dispatched =
            slot.as_ref().is_some_and(|s| (s.before + 1..=s.attempts - never_begun).contains(&task.attempt));
        if passed_over && ignored == Some(Ignored::AlreadyDecided) {
            return Ok(());
        }
        let round = slot.as_ref().map_or(0, |s| s.round);
        let after = planned.map(|it| rounds::after(it, round, output));
        if let (Some(After::Refused), true, true, Some(planned)) = (&after, shown, dispatched, planned) {
            let planned = planned.clone();
            return self.refused(run, task, &planned, ignored);
        }
        let counts = !self.last.is_over(&task.step) || self.last.is_undoable(&task.step);
        let due = shown && !ended && counts && dispatched && slot.as_ref().is_some_and(|s| !s.done);
        hold("the_first_success_of_a_dispatched_attempt_counts", due == ignored.is_none(), || {
            format!("{task} with its token: {shown}, dispatched: {dispatched}, ignored: {ignored:?}")
        })?;
        let (Some(slot), Some(planned)) = (slot.filter(|_| due), planned) else { return Ok(()) };
        slot.in_flight = false;
        match rounds::after(planned, slot.round, output) {
            After::Done => {
                slot.done = true;
                self.questions.forget(&task.step);
            }
            next @ (After::NextRound | After::HandedTo(_)) => {
                let (before, mut hops) = (slot.attempts, std::mem::take(&mut slot.hops));
                hops.extend(if let After::HandedTo(at) = next { Some((at, before)) } else { None });
                *slot = Slot { attempts: before, round: slot.round + 1, before, hops, ..Slot::default() };
                self.not_before.retain(|retry, _| retry.step != task.step);
                self.questions.forget(&task.step);
            }
            After::GaveUp | After::Refused => {
                slot.before = slot.attempts;
                self.exhaust(run, &task.step);
            }
        }
        Ok(())
    }

    /// A success that hands its step to a stranger counts as a failure that another attempt may mend.
    fn refused(&mut self, run: &Run, task: &TaskId, planned: &PlanStep, ignored: Option<Ignored>) -> Result<(), Wrong> {
        let Some(slot) = self.slots.get_mut(&task.step) else { return Ok(()) };
        let waited_for = slot.in_flight && slot.attempts == task.attempt && !self.last.is_over(&task.step);
        hold("a_failure_counts_if_it_is_waited_for", (!self.ended && waited_for) == ignored.is_none(), || {
            format!("{task} names a stranger, waited for: {waited_for}, ignored: {ignored:?}")
        })?;
        if ignored.is_none() {
            slot.in_flight = false;
            slot.counted += 1;
            within_budget(task, slot, planned)?;
            if slot.counted >= slot.retry(planned).max_attempts {
                self.exhaust(run, &task.step);
            }
        }
        Ok(())
    }

    fn failed(&mut self, run: &Run, report: &StepFailed, shown: bool, ignored: Option<Ignored>) -> Result<(), Wrong> {
        let (task, failure) = (&report.task, &report.failure);
        let ended = self.ended;
        let Some(planned) = self.plan.steps.iter().find(|s| s.id == task.step.step) else { return Ok(()) };
        let slot = self.slots.get_mut(&task.step);
        let over = self.last.is_over(&task.step);
        let waited_for = !over && slot.as_ref().is_some_and(|s| s.in_flight && s.attempts == task.attempt);
        hold("a_failure_counts_if_it_is_waited_for", (shown && !ended && waited_for) == ignored.is_none(), || {
            format!("{task}, waited for: {waited_for}, ignored: {ignored:?}")
        })?;
        let Some(slot) = slot.filter(|_| ignored.is_none()) else { return Ok(()) };
        slot.in_flight = false;
        match failure.kind {
            FailureKind::Returned => {}
            FailureKind::LeaseLost => slot.lost += 1,
            FailureKind::Agent | FailureKind::Timeout => slot.counted += 1,
        }
        let burnt = failure.kind != FailureKind::LeaseLost && failure.kind != FailureKind::Returned;
        let exhausted = (burnt && (!failure.retryable || slot.counted >= slot.retry(planned).max_attempts))
            || slot.lost > LEASE_LOST_MAX;
        within_budget(task, slot, planned)?;
        if exhausted {
            self.exhaust(run, &task.step);
        }
        Ok(())
    }

    fn renew(&mut self, steps: &[StepRef]) {
        let meant = |step: &StepRef| {
            steps.is_empty() || steps.iter().any(|s| s.step == step.step && (s.item.is_none() || s.item == step.item))
        };
        self.costs.grant(steps);
        // Who has a budget left keeps it: only what gave up is renewed.
        for (step, slot) in &mut self.slots {
            let stuck = (slot.gave_up || slot.exhausted) && !slot.done && !self.last.is_over(step);
            if meant(step) && stuck {
                (slot.counted, slot.lost, slot.exhausted, slot.gave_up) = (0, 0, false, false);
                self.questions.forget(step);
            }
        }
    }

    fn gave_up(&mut self, step: &StepRef) -> Result<(), Wrong> {
        let planned = self.plan.steps.iter().find(|s| s.id == step.step);
        let limited = planned.is_some_and(|s| has_total(s) || self.costs.is_at_its_limit(s));
        let slot = self.slots.entry(step.clone()).or_default();
        slot.gave_up = true;
        hold("nobody_gives_up_with_attempts_left", slot.exhausted || limited, || step.to_string())
    }

    /// Whether a step may give up and be gone on without for a reason that is not counted here: time or money.
    fn may_be_passed_over(&self, step: &StepRef) -> bool {
        let planned = self.plan.steps.iter().find(|s| s.id == step.step);
        planned.is_some_and(|s| s.on_give_up == OnGiveUp::Continue && (has_total(s) || self.costs.is_limited(s)))
    }

    fn dispatched(&mut self, run: &Run, task: &DispatchTask, at: Timestamp) -> Result<(), Wrong> {
        let planned = self.begun(run, &task.task, &task.input, at)?;
        let Some(slot) = self.slots.get(&task.task.step) else { return Ok(()) };
        let timeout = slot.hand(&planned).map_or(planned.timeout, |it| it.timeout);
        let agent = slot.agent_of(&planned, task.task.attempt);
        let right = (Some(&task.agent), &task.chain) == (agent, &slot.chain(&planned)) && task.timeout == timeout;
        let due = if planned.phase == Phase::Work { self.work_deadline() } else { self.last.due };
        let right = right && task.deadline == due;
        hold("a_task_says_what_the_plan_says", right, || format!("{task:?}"))
    }

    /// An attempt that a report will end begins.
    fn begun(&mut self, run: &Run, id: &TaskId, input: &Payload, at: Timestamp) -> Result<PlanStep, Wrong> {
        let step = &id.step;
        hold("nothing_is_dispatched_for_a_run_that_ended", !self.ended, || id.to_string())?;
        hold("nothing_is_dispatched_for_a_paused_run", !self.paused, || id.to_string())?;
        hold("what_is_kept_is_not_done_again", !self.kept.contains(&step.step), || id.to_string())?;
        let early = self.not_before.get(id).filter(|due| at.plus(EARLY) < **due);
        hold("no_attempt_starts_before_its_retry_is_due", early.is_none(), || format!("{id} at {at}, due {early:?}"))?;
        let over = self.over.contains(&step.step);
        hold("what_was_taken_back_does_not_begin", !over, || id.to_string())?;
        let Some(planned) = self.planned(step).cloned() else {
            return Err(("only_planned_steps_are_dispatched", id.to_string()));
        };
        let held = self.questions.begin(&planned, id, input, at)?;
        let slot = self.slots.entry(step.clone()).or_default();
        let next = slot.attempts + u32::from(!held);
        hold("attempts_are_numbered_in_a_row", id.attempt == next, || id.to_string())?;
        hold("a_slot_has_one_attempt_in_flight", !slot.in_flight && !slot.done, || id.to_string())?;
        hold("no_attempt_beyond_the_budget", !slot.exhausted, || id.to_string())?;
        slot.attempts = id.attempt;
        slot.in_flight = true;
        let spent = slot.agent_of(&planned, id.attempt).is_some_and(|agent| self.costs.has_spent(agent));
        hold("nothing_begins_that_may_cost_nothing_more", !spent, || id.to_string())?;
        let busy = self.slots.iter().filter(|(s, slot)| s.step == step.step && slot.in_flight).count();
        let room = if planned.foreach.is_some() { planned.max_parallel as usize } else { 1 };
        hold("members_stay_within_max_parallel", busy <= room, || format!("{id}: {busy} of {room}"))?;
        self.needs_ended(run, &planned)?;
        Ok(planned)
    }

    fn planned(&self, step: &StepRef) -> Option<&PlanStep> {
        self.plan.steps.iter().find(|planned| planned.id == step.step)
    }

    fn needs_ended(&self, run: &Run, planned: &PlanStep) -> Result<(), Wrong> {
        let names: Vec<_> = planned.needs.iter().map(|n| &self.plan.steps[*n].id).collect();
        let ended = |status| matches!(status, StepStatus::Succeeded | StepStatus::Skipped | StepStatus::GaveUp);
        let taken = |id: &StepId, status| status == StepStatus::Canceled && self.joins.is_taken(id);
        let open = run.steps().find(|s| names.contains(&s.id) && !ended(s.status) && !taken(s.id, s.status));
        let over = |step: &StepRef| self.may_be_passed_over(step) || self.joins.is_taken(&step.step);
        let waits = self.slots.iter().find(|(step, slot)| names.contains(&&step.step) && !slot.done && !over(step));
        hold("needs_end_before_a_step_starts", open.is_none() && waits.is_none(), || planned.id.to_string())
    }
}

fn within_budget(task: &TaskId, slot: &Slot, planned: &PlanStep) -> Result<(), Wrong> {
    let most = slot.retry(planned).max_attempts;
    let counted = slot.counted <= most && slot.lost <= LEASE_LOST_MAX + 1;
    hold("attempts_stay_within_their_budgets", counted, || {
        format!("{task}: {} of {most} counted, {} lost", slot.counted, slot.lost)
    })
}

pub(crate) fn hold(name: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err((name, detail())) }
}
