//! Commands: what the engine asks the coordinator to do, in the imperative. Doing one twice is harmless.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kapelle_types::{
    AgentVersion, Fairness, Flow, InvalidName, Payload, Priority, RunId, Sha256, StepRef, TaskId, Timestamp,
    WorkflowVersion,
};

use crate::approval;
use crate::entry::{Decider, Failure, Parent, RunFinished};
use crate::flow;
use crate::limits::TaskLimits;
use crate::plan::{Act, Bond, PlanStep, WorkflowAct};
use crate::state::{Place, Run, Slot};
use crate::token::TaskToken;

/// What the coordinator shall do. Each has an identity that derives from (run, step, attempt).
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Queue an attempt for the workers of its agent version.
    DispatchTask(Box<DispatchTask>),
    /// Tell whoever subscribes, then report that it was done.
    EmitEvent(Box<EmitEvent>),
    /// Begin a run of another workflow. If nobody waits for its end, report that it is begun; if it is there already and has
    /// ended, report on its end again.
    StartRun(Box<StartRun>),
    /// End a run that was begun, or was to be: if it is not there yet, it is recorded and ended at once, so that whoever still
    /// begins it finds it ended.
    StopRun(Box<StopRun>),
    /// The outcome of a run is decided that another run waits for: report on the attempt.
    ReportOutcome(Box<ReportOutcome>),
    /// Take an attempt that nobody waits for any more out of its queue.
    WithdrawTask {
        /// The attempt.
        task: TaskId,
        /// Whose queue it is in.
        agent: AgentVersion,
    },
    /// Set a durable timer; it comes back as `TimerFired`. Setting it again replaces it.
    StartTimer {
        /// Its name inside the run.
        timer: TimerId,
        /// When it is due.
        due: Timestamp,
    },
    /// Forget a durable timer.
    CancelTimer {
        /// Its name inside the run.
        timer: TimerId,
    },
    /// Find out whether those who agreed still may, and write down what was found.
    CheckApproval(Box<CheckApproval>),
    /// Keep a task that gave up where people find it.
    WriteDeadLetter(Box<DeadLetter>),
    /// The step was retried, or its run ended: its dead letter is done with.
    RemoveDeadLetter {
        /// The step.
        step: StepRef,
        /// The agent version that it names.
        agent: AgentVersion,
    },
    /// The outcome is decided: mark it in the log and tell whoever waits.
    FinishRun(Box<FinishRun>),
}

/// The outcome to be marked.
pub type FinishRun = RunFinished;

/// An attempt to be queued.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchTask {
    /// The attempt.
    pub task: TaskId,
    /// Who shall do it.
    pub agent: AgentVersion,
    /// What it gets.
    pub input: Payload,
    /// The round of a step that is repeated or handed on, from 0: with the run and the step, what the agent's work is done
    /// once for.
    pub round: u32,
    /// Who did the step before it was handed to this agent, the first first.
    pub chain: Vec<AgentVersion>,
    /// How long it may run.
    pub timeout: Duration,
    /// When the run's own deadline ends it, if it has one.
    pub deadline: Option<Timestamp>,
    /// What it may give and use up.
    pub limits: TaskLimits,
    /// How it stands among those that wait for the same agent version, if it says anything of that.
    pub flow: Option<Box<Flow>>,
    /// What the report has to show, if the run has a key.
    pub token: Option<TaskToken>,
}

/// An event to be published. Its identity is the run's and the step's: every attempt of the step is the same event.
#[derive(Debug, Clone, PartialEq)]
pub struct EmitEvent {
    /// The attempt that is to be reported on.
    pub task: TaskId,
    /// The event's type.
    pub kind: String,
    /// The event's data.
    pub data: Payload,
    /// What the report has to show, if the run has a key.
    pub token: Option<TaskToken>,
}

/// A run to be begun. Its id derives from the attempt, so that there is one however often it is begun.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRun {
    /// Its id.
    pub run: RunId,
    /// Of what.
    pub workflow: WorkflowVersion,
    /// Its input.
    pub input: Payload,
    /// Which attempt it is for.
    pub parent: Parent,
    /// The person who asked for this run, as far as known: they asked for what it begins, too.
    pub person: Option<String>,
    /// Set if it goes on in the place of this run.
    pub continues: Option<Continues>,
    /// The priority of this run's attempts, if it is another than all have; the other run's unless that one says its own.
    pub priority: Option<Priority>,
    /// Whose share they take; so do the other run's, unless it says something else.
    pub fairness: Option<Fairness>,
    /// What a report on the attempt has to show, if this run has a key.
    pub token: Option<TaskToken>,
}

/// What a run that goes on in the place of another has of that one.
#[derive(Debug, Clone, PartialEq)]
pub struct Continues {
    /// The attempt that waits for the end of the last of them.
    pub above: Option<Parent>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A run that shall be no more.
#[derive(Debug, Clone, PartialEq)]
pub struct StopRun {
    /// Which, and what it would be if it is not there yet.
    pub start: StartRun,
    /// At once, without what cancelling may do.
    pub terminate: bool,
}

/// The end of a run, for the attempt that waits for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportOutcome {
    /// The attempt.
    pub parent: Parent,
    /// How the run ended.
    pub outcome: RunFinished,
}

impl Command {
    /// What carries out an attempt of a step that ends by a report; nothing for other steps.
    pub(crate) fn attempt(run: &Run, place: Place, planned: &PlanStep, task: TaskId, input: Payload) -> Option<Self> {
        let token = run.token(&task);
        match &planned.act {
            Act::Agent(_) => {
                let doing = run.doing(place, planned);
                // What cannot be said is found before the first attempt, which then is none. Later it is because a payload is
                // gone: nothing is dispatched without the limits that it names.
                let flow = flow::of(run, place, planned, &input).ok()?;
                Some(Self::DispatchTask(Box::new(DispatchTask {
                    task,
                    agent: doing.version()?.clone(),
                    input,
                    round: run.slot(place).map_or(0, Slot::round),
                    chain: run.before(place).cloned().collect(),
                    timeout: doing.timeout,
                    deadline: run.deadline(),
                    limits: doing.limits(),
                    flow,
                    token,
                })))
            }
            Act::Emit(kind) => {
                Some(Self::EmitEvent(Box::new(EmitEvent { task, kind: kind.clone(), data: input, token })))
            }
            Act::Workflow(act) => Some(Self::StartRun(Box::new(StartRun::of(run, act, task, input)))),
            Act::Value | Act::Switch(_) | Act::Wait(_) | Act::Signal(_) | Act::Approval(_) => None,
        }
    }

    /// Takes an attempt back that is not waited for any more. An event that was told cannot be taken back, and a run that is
    /// not waited for goes its own way.
    pub(crate) fn withdraw(run: &Run, place: Place, task: TaskId, terminate: bool) -> Option<Self> {
        let planned = run.plan.steps.get(place.step)?;
        match &planned.act {
            Act::Agent(_) => {
                let agent = run.doing(place, planned).version()?.clone();
                Some(Self::WithdrawTask { task, agent })
            }
            Act::Workflow(act) if act.bond != Bond::Detached => {
                let input = approval::arguments(run, place, planned).unwrap_or_else(|_| Payload::null());
                let start = StartRun::of(run, act, task, input);
                Some(Self::StopRun(Box::new(StopRun { start, terminate })))
            }
            Act::Workflow(_) => None,
            Act::Emit(_) | Act::Value | Act::Switch(_) | Act::Wait(_) | Act::Signal(_) | Act::Approval(_) => None,
        }
    }
}

/// What was agreed to, and is to be checked before its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckApproval {
    /// The step or member.
    pub step: StepRef,
    /// What was agreed to.
    pub digest: Sha256,
    /// The sequence of the entry with which enough had agreed.
    pub agreed: u64,
    /// Those who did.
    pub deciders: Vec<Decider>,
}

impl StartRun {
    fn of(run: &Run, act: &WorkflowAct, task: TaskId, input: Payload) -> Self {
        let (priority, fairness) = inherited(run, act.bond);
        Self {
            run: RunId::of_attempt(run.id, &task),
            workflow: act.version.clone(),
            input,
            token: run.token(&task),
            continues: (act.bond == Bond::Continued)
                .then(|| Continues { above: run.parent().cloned(), labels: run.labels().cloned().unwrap_or_default() }),
            priority,
            fairness,
            parent: run.as_parent(task, act.bond == Bond::Awaited),
            person: run.submitted_by_person().map(str::to_owned),
        }
    }
}

/// What a run hands down. One that goes on in another's place is what that one was submitted as, to the letter: a priority that
/// all have wins over the workflow's too, if somebody asked for it.
fn inherited(run: &Run, bond: Bond) -> (Option<Priority>, Option<Fairness>) {
    if bond != Bond::Continued {
        let Flow { priority, fairness, .. } = flow::said(run).unwrap_or_default();
        return ((priority != Priority::default()).then_some(priority), fairness);
    }
    let origin = run.origin.as_ref();
    (origin.and_then(|it| it.priority), origin.and_then(|it| it.fairness.clone()))
}

/// A step that gave up, with everything a person needs to judge it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The attempt that was the last.
    pub task: TaskId,
    /// Who should have done it.
    pub agent: AgentVersion,
    /// What it got.
    pub input: Payload,
    /// Why it gave up.
    pub cause: Failure,
    /// The failures that burnt a budget, oldest first; of many the latest 20.
    pub history: Vec<(TaskId, Timestamp, Failure)>,
    /// When it gave up, by the log.
    pub at: Timestamp,
}

/// The name of a timer inside its run; printed as one subject token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerId {
    /// The run's deadline: `deadline`.
    Deadline,
    /// The end of the time that the run has for its last steps: `closing`.
    Closing,
    /// When this attempt shall be dispatched: `retry=<step>=<attempt>`.
    Retry(TaskId),
    /// When this attempt has waited long enough: `wake=<step>=<attempt>`.
    Wake(TaskId),
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("deadline"),
            Self::Closing => f.write_str("closing"),
            Self::Retry(task) => write!(f, "retry={}={}", task.step, task.attempt),
            Self::Wake(task) => write!(f, "wake={}={}", task.step, task.attempt),
        }
    }
}

impl FromStr for TimerId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            what: "timer",
            value: text.chars().take(80).collect(),
            rule: "`deadline`, `closing`, `retry=<step>=<attempt>` or `wake=<step>=<attempt>`",
        };
        match text {
            "deadline" => return Ok(Self::Deadline),
            "closing" => return Ok(Self::Closing),
            _ => {}
        }
        let (what, task) = text.split_once('=').ok_or_else(invalid)?;
        let (step, attempt) = task.split_once('=').ok_or_else(invalid)?;
        let task = TaskId { step: step.parse()?, attempt: attempt.parse().map_err(|_| invalid())? };
        match what {
            "retry" => Ok(Self::Retry(task)),
            "wake" => Ok(Self::Wake(task)),
            _ => Err(invalid()),
        }
    }
}
