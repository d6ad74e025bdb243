//! Commands: what the engine asks the coordinator to do, in the imperative. Doing one twice is harmless.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kapelle_types::{AgentVersion, InvalidName, Payload, StepRef, TaskId, Timestamp};

use crate::entry::{Failure, RunFinished};
use crate::limits::TaskLimits;
use crate::plan::PlanStep;
use crate::state::Run;
use crate::token::TaskToken;

/// What the coordinator shall do. Each has an identity that derives from (run, step, attempt).
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Queue an attempt for the workers of its agent version.
    DispatchTask(Box<DispatchTask>),
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
    /// How long it may run.
    pub timeout: Duration,
    /// When the run's own deadline ends it, if it has one.
    pub deadline: Option<Timestamp>,
    /// What it may give and use up.
    pub limits: TaskLimits,
    /// What the report has to show, if the run has a key.
    pub token: Option<TaskToken>,
}

impl DispatchTask {
    /// The command for an attempt of a run's step.
    pub(crate) fn of(run: &Run, planned: &PlanStep, task: TaskId, input: Payload) -> Command {
        Command::DispatchTask(Box::new(Self {
            token: run.key.as_ref().map(|key| key.token(&task)),
            task,
            agent: planned.agent.clone(),
            input,
            timeout: planned.timeout,
            deadline: run.deadline(),
            limits: planned.limits,
        }))
    }
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
    /// When this attempt shall be dispatched: `retry=<step>=<attempt>`.
    Retry(TaskId),
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("deadline"),
            Self::Retry(task) => write!(f, "retry={}={}", task.step, task.attempt),
        }
    }
}

impl FromStr for TimerId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            what: "timer",
            value: text.chars().take(80).collect(),
            rule: "`deadline` or `retry=<step>=<attempt>`",
        };
        if text == "deadline" {
            return Ok(Self::Deadline);
        }
        let (step, attempt) = text.strip_prefix("retry=").and_then(|t| t.split_once('=')).ok_or_else(invalid)?;
        Ok(Self::Retry(TaskId { step: step.parse()?, attempt: attempt.parse().map_err(|_| invalid())? }))
    }
}
