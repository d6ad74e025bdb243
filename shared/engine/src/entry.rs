//! Entries: the facts that a run's log is made of, in the past tense. The set is closed.

mod approval;

use std::collections::BTreeMap;
use std::time::Duration;

use kapelle_types::{
    AgentVersion, Fairness, Payload, Principal, Priority, RunId, Sha256, SignalName, StepId, StepRef, TaskId,
    Timestamp, WorkflowVersion,
};

pub use approval::{ApprovalChecked, ApprovalDecided, Decider, Verdict};

use crate::TimerId;
use crate::state::RunStatus;
use crate::token::{KeyId, TaskToken};

/// Which of a run's two subjects a record came on. Only the control plane may write `Control`; workers write `Report`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `….control`: submissions, requests, timers, the finish mark.
    Control,
    /// `….report`: what workers say about tasks.
    Report,
}

/// One message of a run's log: one or more entries that were written together, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where in the partition's stream it stands, and when the broker took it.
    pub stamp: Stamp,
    /// The subject that it came on.
    pub channel: Channel,
    /// The entries, in order.
    pub entries: Vec<Entry>,
}

impl Record {
    /// Whether somebody asks for the end of the run: one that has ended passes that on to the run that goes on in its place.
    #[must_use]
    pub fn asks_for_an_end(&self) -> bool {
        let asks = |body: &Body| matches!(body, Body::CancelRequested { .. } | Body::TerminateRequested { .. });
        self.channel == Channel::Control && self.entries.iter().any(|entry| asks(&entry.body))
    }
}

/// The broker's sequence and timestamp of a record. The engine knows no other time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp {
    /// Sequence in the partition's stream, from 1.
    pub seq: u64,
    /// When the broker stored it.
    pub at: Timestamp,
}

/// One recorded fact with its envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Tells two writings of the same fact apart from two facts; empty where the body itself is the identity.
    pub id: String,
    /// Who caused it.
    pub principal: Principal,
    /// W3C trace context, if the cause carried one.
    pub traceparent: Option<String>,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A client asked for a run; always the first entry.
    RunSubmitted(Box<RunSubmitted>),
    /// An attempt of a step ended well.
    StepSucceeded(StepSucceeded),
    /// An attempt of a step failed, was lost or was given back.
    StepFailed(StepFailed),
    /// A durable timer went off.
    TimerFired {
        /// Which one.
        timer: TimerId,
    },
    /// Somebody outside said something that the run waits for, or will.
    SignalReceived(SignalReceived),
    /// A person said yes or no to what a step would do.
    ApprovalDecided(Box<ApprovalDecided>),
    /// It was found out whether those who agreed still may.
    ApprovalChecked(ApprovalChecked),
    /// Somebody asked for an orderly end.
    CancelRequested {
        /// Why, in their words.
        reason: String,
    },
    /// Somebody asked for an end at once.
    TerminateRequested {
        /// Why, in their words.
        reason: String,
    },
    /// Somebody holds new steps.
    PauseRequested {
        /// Why, in their words.
        reason: String,
    },
    /// Somebody lets new steps go on.
    ResumeRequested,
    /// Somebody repaired what stalled the run.
    RetryRequested {
        /// The steps to try again; empty means all that gave up.
        steps: Vec<StepRef>,
    },
    /// Somebody decided that what gave up stays given up: the run ends FAILED.
    FailRequested {
        /// Why, in their words.
        reason: String,
    },
    /// The outcome was decided; this marks it for readers and adds nothing.
    RunFinished(Box<RunFinished>),
}

impl Body {
    /// The payload whose value the engine needs, which may have to be fetched before the entry is applied.
    pub fn payload_mut(&mut self) -> Option<&mut Payload> {
        match self {
            Self::RunSubmitted(submitted) => Some(&mut submitted.input),
            Self::StepSucceeded(report) => Some(&mut report.output),
            Self::SignalReceived(signal) => Some(&mut signal.payload),
            Self::ApprovalDecided(decided) => match &mut decided.verdict {
                Verdict::Edit(arguments) => Some(arguments),
                Verdict::Approve | Verdict::Reject | Verdict::Override | Verdict::Undo => None,
            },
            Self::StepFailed(_)
            | Self::TimerFired { .. }
            | Self::ApprovalChecked(_)
            | Self::CancelRequested { .. }
            | Self::TerminateRequested { .. }
            | Self::PauseRequested { .. }
            | Self::ResumeRequested
            | Self::RetryRequested { .. }
            | Self::FailRequested { .. }
            | Self::RunFinished(_) => None,
        }
    }

    /// What it keeps of another run, whose payloads may have to be fetched too.
    pub const fn kept_mut(&mut self) -> &mut [Kept] {
        if let Self::RunSubmitted(submitted) = self { submitted.kept.as_mut_slice() } else { &mut [] }
    }
}

/// The first entry of a run: everything about it that cannot be derived.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSubmitted {
    /// The workflow version that was pinned.
    pub workflow: WorkflowVersion,
    /// Digest of that immutable manifest.
    pub workflow_digest: Sha256,
    /// The agent version that each step was pinned to, in the order of the workflow's steps.
    pub pins: Vec<Pin>,
    /// The input, checked against the contract.
    pub input: Payload,
    /// The client's idempotency key, if it gave one.
    pub key: Option<String>,
    /// The engine behaviour that decides this run for ever.
    pub behaviour: u32,
    /// The key that the tokens of its tasks derive from; without one reports need no token.
    pub signing_key: Option<KeyId>,
    /// Free labels for people to find it by.
    pub labels: BTreeMap<String, String>,
    /// Whose run it is, if not its submitter's: who submitted the run that was started again.
    pub owner: Option<Principal>,
    /// The run that it is a fork of.
    pub forked_from: Option<RunId>,
    /// What steps of that run came to: they end at once and nobody does them again.
    pub kept: Vec<Kept>,
    /// The person who asked for it, as far as known.
    pub person: Option<String>,
    /// The workflow version that each step was pinned to which runs one, in the order of the workflow's steps.
    pub workflow_pins: Vec<WorkflowPin>,
    /// The run that wanted this one, if one did.
    pub parent: Option<Parent>,
    /// The run that it goes on in the place of.
    pub continued_from: Option<RunId>,
    /// The priority that it was submitted with, or that of the run above.
    pub priority: Option<Priority>,
    /// Whose share it takes, as the run above says.
    pub fairness: Option<Fairness>,
}

/// A step that is not done again.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The step.
    pub step: StepId,
    /// What it came to.
    pub outcome: KeptOutcome,
}

/// What a step came to in another run.
#[derive(Debug, Clone, PartialEq)]
pub enum KeptOutcome {
    /// Its `when` was false.
    Skipped,
    /// What it returned.
    Output(Payload),
    /// What the members of a `foreach` returned, as one list in item order.
    Members {
        /// The list.
        outputs: Payload,
        /// How many members there were.
        total: u32,
    },
}

impl Kept {
    /// The payload that it brings, if it brings one.
    pub const fn payload_mut(&mut self) -> Option<&mut Payload> {
        match &mut self.outcome {
            KeptOutcome::Skipped => None,
            KeptOutcome::Output(payload) | KeptOutcome::Members { outputs: payload, .. } => Some(payload),
        }
    }
}

/// The version of an agent that a step of this run uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pin {
    /// The step.
    pub step: StepId,
    /// The agent version.
    pub agent: AgentVersion,
    /// Digest of that immutable manifest.
    pub digest: Sha256,
}

/// The version of another workflow that a step of this run runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkflowPin {
    /// The step.
    pub step: StepId,
    /// The workflow version.
    pub workflow: WorkflowVersion,
    /// Digest of that immutable manifest.
    pub digest: Sha256,
}

/// The attempt that a run was begun for. It says nothing secret: the token of the attempt derives from the key that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The run that wants it.
    pub run: RunId,
    /// The attempt of that run's step.
    pub task: TaskId,
    /// The signing key of that run.
    pub signing_key: Option<KeyId>,
    /// The run at the top: that run, or the one at its top.
    pub root: RunId,
    /// How many runs stand above: at least 1.
    pub depth: u32,
    /// Whether the attempt ends with this run; otherwise it ended when this run was begun.
    pub awaited: bool,
}

/// Who worked on an attempt and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    /// The worker's id.
    pub worker: String,
    /// When the agent was started, by the worker's clock.
    pub started_at: Timestamp,
    /// How long it ran.
    pub duration: Duration,
    /// The agent version that it was for, if the step alone does not say. Nothing is decided by it.
    pub agent: Option<AgentVersion>,
}

/// What an attempt used up, as the agent reports it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Money, in US dollars.
    pub cost_usd: f64,
    /// Tokens read by models.
    pub input_tokens: u64,
    /// Tokens written by models.
    pub output_tokens: u64,
    /// Tools that were called.
    pub tool_calls: u64,
}

/// An attempt ended well.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSucceeded {
    /// The attempt.
    pub task: TaskId,
    /// What the agent returned.
    pub output: Payload,
    /// Who did it.
    pub work: Work,
    /// What it used up.
    pub usage: Usage,
    /// The token of the task.
    pub token: Option<TaskToken>,
}

/// An attempt failed.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFailed {
    /// The attempt.
    pub task: TaskId,
    /// How.
    pub failure: Failure,
    /// Who did it.
    pub work: Work,
    /// What it used up nevertheless.
    pub usage: Usage,
    /// The token of the task.
    pub token: Option<TaskToken>,
}

/// Whose fault a failed attempt is, and so which budget it burns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The agent said so, or broke the protocol: burns an attempt of the retry policy.
    Agent,
    /// The agent exceeded its timeout: burns an attempt of the retry policy.
    Timeout,
    /// The worker was lost while it held the task: burns the small budget `LEASE_LOST_MAX`, no attempt of the policy.
    LeaseLost,
    /// The worker gave the task back unexecuted: burns nothing.
    Returned,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// The agent's own code, or a `K04xx` of the platform.
    pub code: String,
    /// In words.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// The agent asks to wait at least this long.
    pub retry_after: Option<Duration>,
    /// What the worker kept: exit status, the last lines of stderr.
    pub evidence: String,
}

/// A signal for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalReceived {
    /// Its name, as the workflow declares it.
    pub name: SignalName,
    /// What it says.
    pub payload: Payload,
}

/// The mark at the end of a run's log.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFinished {
    /// How it ended.
    pub status: RunStatus,
    /// The workflow's output, if it COMPLETED.
    pub output: Option<Payload>,
    /// Why it did not, otherwise.
    pub error: Option<Failure>,
    /// The sequence of the entry that decided it; the same whoever writes the mark.
    pub decided_seq: u64,
    /// The run that goes on in its place, if one does.
    pub continued_as: Option<RunId>,
}
