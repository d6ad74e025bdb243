//! A synchronous model of the world around the engine: a log, a task queue with one place a task, timers, dead letters,
//! and agents whose answers derive from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kapelle_types::{Principal, SignalName, StepRef, TaskId, Timestamp};
use serde_json::{Value, json};

use super::random::{Dice, list};
use super::script::{fresh, run_key, submission};
use crate::spending;
use crate::state::{Place, fold};
use crate::{
    Act, ApprovalChecked, ApprovalDecided, Body, Channel, CheckApproval, Command, Decider, Decision, DispatchTask,
    Entry, Failure, FailureKind, Plan, Record, Run, RunFinished, SignalReceived, Stamp, StepFailed, StepSucceeded,
    TimerId, Usage, Verdict, Work, apply, invariant, outstanding,
};

/// The world of one run.
#[derive(Debug, Clone)]
pub struct World {
    pub run: Run,
    /// The run's log.
    pub log: Vec<Record>,
    /// Queued tasks: one place a task, so that a second dispatch finds it taken.
    pub queue: BTreeMap<TaskId, DispatchTask>,
    /// Events that were told and not yet reported.
    pub events: BTreeSet<TaskId>,
    /// What was agreed to and is not checked yet.
    pub checks: BTreeMap<StepRef, CheckApproval>,
    /// Runs that were begun and have not ended.
    pub children: BTreeSet<TaskId>,
    /// Runs that were ended before they were begun, or while they went on: they are never begun again.
    pub stopped: BTreeSet<TaskId>,
    /// Durable timers.
    pub timers: BTreeMap<TimerId, Timestamp>,
    /// Dead letters.
    pub dead: BTreeSet<StepRef>,
    /// Marks that were asked for and are not in the log yet.
    pub marks: Vec<RunFinished>,
    /// Signals that steps have taken, by their sequences.
    pub taken: BTreeSet<u64>,
    pub clock: Timestamp,
    pub agents: Agents,
}

/// Agents whose answer is a function of the seed and the task.
#[derive(Debug, Clone, Copy)]
pub struct Agents {
    pub seed: u64,
    /// Attempts that fail, in percent.
    pub fail: u64,
    /// Attempts whose worker is lost, in percent.
    pub lost: u64,
    /// Attempts that are given back, in percent.
    pub returned: u64,
}

impl World {
    /// A world in which the run was submitted and the commands of that were performed.
    #[must_use]
    pub fn submitted(plan: Arc<Plan>, input: Value, agents: Agents) -> Self {
        let mut world = Self::empty(fresh(plan), agents);
        let _ = world.log_and_perform(submission(input));
        world
    }

    /// A world with a run and nothing else.
    #[must_use]
    pub const fn empty(run: Run, agents: Agents) -> Self {
        Self {
            run,
            log: Vec::new(),
            queue: BTreeMap::new(),
            events: BTreeSet::new(),
            checks: BTreeMap::new(),
            children: BTreeSet::new(),
            stopped: BTreeSet::new(),
            timers: BTreeMap::new(),
            dead: BTreeSet::new(),
            marks: Vec::new(),
            taken: BTreeSet::new(),
            clock: Timestamp::from_millis(1_000_000),
            agents,
        }
    }

    /// The same world after a crash that lost all but the log: tasks, timers, dead letters, caches.
    #[must_use]
    pub fn rebuilt(&self) -> Self {
        let mut world = Self::empty(replay(&self.run, &self.log), self.agents);
        world.log.clone_from(&self.log);
        world.taken.clone_from(&self.taken);
        world.clock = self.clock;
        world
    }

    /// Writes an entry to the log and applies it; nothing is performed. Invariants are checked.
    ///
    /// # Panics
    /// An invariant does not hold.
    pub fn log(&mut self, body: Body) -> Decision {
        let channel = match body {
            Body::StepSucceeded(_) | Body::StepFailed(_) => Channel::Report,
            _ => Channel::Control,
        };
        let seq = self.log.len() as u64 + 1;
        let entry = Entry { id: String::new(), principal: Principal("model".into()), traceparent: None, body };
        self.clock = self.clock.plus(Duration::from_millis(1));
        let stamp = Stamp { seq, at: self.clock };
        self.log.push(Record { stamp, channel, entries: vec![entry.clone()] });
        let decision = apply(&mut self.run, &entry, channel, stamp);
        if let Err(violation) = invariant::check(&self.run) {
            panic!("{violation}\nafter {entry:?}\n{:#?}", self.run);
        }
        self.nothing_new_beyond_its_cost(&decision.commands);
        self.signals_are_taken_once(&decision.taken);
        decision
    }

    /// What steps take are signals that came, each once.
    fn signals_are_taken_once(&mut self, taken: &[u64]) {
        for seq in taken {
            let came = &self.log[*seq as usize - 1].entries[0].body;
            assert!(matches!(came, Body::SignalReceived(_)), "{came:?} was taken for a signal");
            assert!(self.taken.insert(*seq), "the signal at {seq} was taken twice");
        }
    }

    /// What an entry lets begin has something left to spend when it begins.
    fn nothing_new_beyond_its_cost(&self, commands: &[Command]) {
        for command in commands {
            let Command::DispatchTask(task) = command else { continue };
            let step = self.run.find(&task.task.step.step).expect("a planned step");
            let planned = &self.run.plan.steps[step];
            let place = Place { step, item: task.task.step.item };
            let spent = spending::exhausted(&self.run, self.run.doing(place, planned));
            assert_eq!(spent, None, "{} was dispatched", task.task);
        }
    }

    /// Writes an entry to the log and performs what the engine answers.
    pub fn log_and_perform(&mut self, body: Body) -> Decision {
        let decision = self.log(body);
        self.perform(&decision.commands);
        decision
    }

    /// Performs commands as a broker would: each may be done twice.
    pub fn perform(&mut self, commands: &[Command]) {
        for command in commands {
            match command {
                Command::DispatchTask(task) => {
                    let queued = self.queue.entry(task.task.clone()).or_insert_with(|| (**task).clone());
                    assert_eq!(queued, &**task, "an attempt is the same whenever it is queued");
                }
                Command::EmitEvent(event) => {
                    self.events.insert(event.task.clone());
                }
                Command::StartRun(start) => {
                    if !self.stopped.contains(&start.parent.task) {
                        self.children.insert(start.parent.task.clone());
                    }
                }
                Command::StopRun(stop) => {
                    self.children.remove(&stop.start.parent.task);
                    self.stopped.insert(stop.start.parent.task.clone());
                }
                Command::ReportOutcome(report) => panic!("no run stands above: {report:?}"),
                Command::WithdrawTask { task, .. } => {
                    self.queue.remove(task);
                }
                Command::StartTimer { timer, due } => {
                    self.timers.insert(timer.clone(), *due);
                }
                Command::CancelTimer { timer } => {
                    self.timers.remove(timer);
                }
                Command::CheckApproval(check) => {
                    self.checks.insert(check.step.clone(), (**check).clone());
                }
                Command::WriteDeadLetter(letter) => {
                    self.dead.insert(letter.task.step.clone());
                }
                Command::RemoveDeadLetter { step, .. } => {
                    self.dead.remove(step);
                }
                Command::FinishRun(outcome) => self.marks.push((**outcome).clone()),
            }
        }
    }

    /// Takes an attempt out of the world, as if it were reported on.
    pub fn forget(&mut self, task: &TaskId) {
        self.queue.remove(task);
        self.events.remove(task);
        self.children.remove(task);
    }

    /// What a reconciler does.
    pub fn reconcile(&mut self) {
        let commands = outstanding(&self.run, self.clock);
        self.perform(&commands);
    }

    /// Lets one thing happen: a task is executed and reported, the earliest timer fires, or a mark is written. False if
    /// nothing can.
    pub fn tick(&mut self, dice: &mut Dice) -> bool {
        if let Some((_, check)) = self.checks.pop_first() {
            let CheckApproval { step, digest, agreed, .. } = check;
            let policies = String::new();
            let _ = self.log_and_perform(Body::ApprovalChecked(ApprovalChecked {
                step,
                digest,
                agreed,
                void: None,
                policies,
            }));
            return true;
        }
        if let Some(decided) = self.decision().filter(|_| dice.chance(40)) {
            let _ = self.log_and_perform(decided);
            return true;
        }
        let timer = self.earliest_timer();
        if let Some(name) = self.awaited_signal().filter(|_| dice.chance(40)) {
            let _ = self.log_and_perform(signal(&name));
            return true;
        }
        if let Some(task) = self.events.pop_first() {
            let _ = self.log_and_perform(self.agents.answer(&task));
            return true;
        }
        if let Some(task) = self.children.pop_first() {
            let _ = self.log_and_perform(self.agents.answer(&task));
            return true;
        }
        let choices = self.queue.len() + usize::from(timer.is_some()) + usize::from(!self.marks.is_empty());
        if choices == 0 {
            let Some(said) = self.awaited_signal().map(|name| signal(&name)).or_else(|| self.decision()) else {
                return false;
            };
            let _ = self.log_and_perform(said);
            return true;
        }
        let choice = dice.below(choices);
        if let Some(task) = self.queue.keys().nth(choice).cloned() {
            let Some(task) = self.queue.remove(&task) else { return true };
            let _ = self.log_and_perform(self.agents.answer(&task.task));
        } else if choice + 1 == choices
            && let Some(mark) = self.marks.pop()
        {
            let _ = self.log_and_perform(Body::RunFinished(Box::new(mark)));
        } else if let Some((timer, due)) = timer {
            self.timers.remove(&timer);
            self.clock = self.clock.max(due);
            let _ = self.log_and_perform(Body::TimerFired { timer });
        }
        true
    }

    /// The timer that goes off next. The end of closing is far away, where plans do not draw it near, and comes when nothing
    /// else can happen.
    fn earliest_timer(&self) -> Option<(TimerId, Timestamp)> {
        // Whoever is asked says yes before it is too late, so that the end does not hang on the order of events.
        let asks = |task: &TaskId| {
            self.run.plan.steps.iter().any(|step| step.id == task.step.step && step.approval().is_some())
        };
        let asked = |timer: &&TimerId| matches!(timer, TimerId::Wake(task) if asks(task));
        let timers = self.timers.iter().filter(|(timer, _)| !asked(timer));
        let earliest = timers.min_by_key(|(timer, due)| (**due, (*timer).clone()))?;
        let far = *earliest.0 == TimerId::Closing && *earliest.1 > self.clock.plus(Duration::from_secs(60));
        let idle = self.queue.is_empty() && self.marks.is_empty();
        (!far || idle).then(|| (earliest.0.clone(), *earliest.1))
    }

    /// What somebody says about the first thing that is asked: yes.
    fn decision(&self) -> Option<Body> {
        let held = self.run.held().find(|held| !held.decided)?;
        let person = format!("person {}", held.agreed.len());
        let by = Decider { person, groups: held.approval.groups.clone(), ..Decider::default() };
        let (step, digest, verdict, comment) = (held.step, held.digest, Verdict::Approve, String::new());
        Some(Body::ApprovalDecided(Box::new(ApprovalDecided { step, digest, verdict, comment, by })))
    }

    /// A signal that some step waits for.
    fn awaited_signal(&self) -> Option<SignalName> {
        let act = |place: &crate::state::Place| self.run.plan.steps.get(place.step).map(|planned| &planned.act);
        self.run.awaiting.iter().find_map(|place| match act(place) {
            Some(Act::Signal(signal)) => Some(signal.name.clone()),
            _ => None,
        })
    }

    /// Lets things happen until nothing can any more.
    ///
    /// # Panics
    /// That does not come.
    pub fn settle(&mut self, dice: &mut Dice) {
        for _ in 0..100_000 {
            if !self.tick(dice) {
                return;
            }
        }
        panic!("this run never ends: {:#?}", self.run);
    }
}

/// A signal; each of one name says the same.
fn signal(name: &SignalName) -> Body {
    Body::SignalReceived(SignalReceived { name: name.clone(), payload: json!({"n": 5, "list": [1, 2]}).into() })
}

/// Applies a log to a run of the same plan that knows nothing yet.
#[must_use]
pub fn replay(like: &Run, log: &[Record]) -> Run {
    let mut run = fresh(Arc::clone(like.plan()));
    for record in log {
        for entry in &record.entries {
            let _ = apply(&mut run, entry, record.channel, record.stamp);
        }
    }
    run
}

impl Agents {
    /// What the agent of this task reports.
    #[must_use]
    pub fn answer(&self, task: &TaskId) -> Body {
        let mut dice = Dice::new(fold(self.seed, task.to_string().as_bytes()));
        let roll = dice.below(100) as u64;
        let thresholds = [self.fail, self.fail + self.lost, self.fail + self.lost + self.returned];
        match thresholds.iter().position(|limit| roll < *limit) {
            Some(0) if dice.chance(20) => failure(task, FailureKind::Timeout),
            Some(0) => failure(task, FailureKind::Agent),
            Some(1) => failure(task, FailureKind::LeaseLost),
            Some(_) => failure(task, FailureKind::Returned),
            None => self.success(task),
        }
    }

    /// A success: its output is a function of the step alone, so that every attempt returns the same.
    #[must_use]
    pub fn success(&self, task: &TaskId) -> Body {
        let mut dice = Dice::new(fold(self.seed, task.step.to_string().as_bytes()));
        let output = json!({"n": dice.below(10), "list": list(&mut dice, 4)}).into();
        Body::StepSucceeded(StepSucceeded {
            task: task.clone(),
            output,
            work: Work::default(),
            usage: usage(task),
            token: Some(run_key().token(task)),
        })
    }
}

/// What an attempt used up: a function of the task, so that whoever reports it says the same.
fn usage(task: &TaskId) -> Usage {
    let cost_usd = [0.0, 0.25, 0.5, 0.75, 1.0][Dice::new(fold(0xc057, task.to_string().as_bytes())).below(5)];
    Usage { cost_usd, ..Usage::default() }
}

/// A failure of a task that another attempt may mend.
#[must_use]
pub fn failure(task: &TaskId, kind: FailureKind) -> Body {
    let failure = Failure {
        kind,
        code: "oops".into(),
        message: "it broke".into(),
        retryable: true,
        retry_after: None,
        evidence: String::new(),
    };
    // Whoever lost a task, or gave it back, knows of no cost.
    let spent = matches!(kind, FailureKind::Agent | FailureKind::Timeout);
    let usage = if spent { usage(task) } else { Usage::default() };
    let (work, token) = (Work::default(), Some(run_key().token(task)));
    Body::StepFailed(StepFailed { task: task.clone(), failure, work, usage, token })
}
