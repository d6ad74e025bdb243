//! What a partition wants done, as data.

use kapelle_engine::{Body, Command, Decision, Entry, Ignored, Record, Run, RunSubmitted, Stamp, TaskToken};
use kapelle_types::{Code, Principal, RunId, StepRef, WorkflowVersion};

/// What the service shall do for the core.
#[derive(Debug)]
pub enum Effect {
    /// Perform a command and report its token back when it is acknowledged.
    Perform(Box<Order>),
    /// Read this run's whole log and its plan, and answer with [`Loaded`].
    Load {
        /// Which run.
        run: RunId,
        /// The answer must reach this sequence, unless it was removed meanwhile; 0 asks for all that the broker has now, and
        /// no replica that lags may answer that.
        at_least: u64,
    },
    /// The run ended or stalled just now: whoever waits for it may be told.
    Settled(RunId),
    /// These entries belong to no run: count them and remove them.
    Orphan {
        /// Whose they claim to be.
        run: RunId,
        /// The last of them that was seen: nothing behind it is garbage yet.
        up_to: u64,
    },
    /// A report tells of something that was refused: it belongs into the audit trail.
    Refused(Box<Refused>),
    /// An entry was written by a newer build than this one: move no cursor, let the partition go.
    LetGo {
        /// What was not understood.
        reason: String,
    },
}

/// What was refused, by the engine or, as a report says, by a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The run.
    pub run: RunId,
    /// The sequence of the report, and its place among the entries that were written with it.
    pub place: (u64, usize),
    /// Who reports, by their own word.
    pub principal: Principal,
    /// The step that the report is about.
    pub step: StepRef,
    /// What a worker refused; `None` if the engine refused the report itself, whose token is not that of its task.
    pub code: Option<Code>,
}

/// What workers refuse to agents, by the code of the attempt's failure.
pub(crate) const REFUSALS: [Code; 3] = [Code::AGENT_SANDBOX, Code::SECRET_MISSING, Code::SECRET_IN_OUTPUT];

impl Refused {
    /// What an entry that was applied tells of a refusal, if it does.
    pub(crate) fn told(run: RunId, stamp: Stamp, nth: usize, entry: &Entry, decision: &Decision) -> Option<Effect> {
        let (step, code) = match (&entry.body, decision.ignored) {
            (Body::StepSucceeded(report), Some(Ignored::BadToken)) => (&report.task.step, None),
            (Body::StepFailed(report), Some(Ignored::BadToken)) => (&report.task.step, None),
            (Body::StepFailed(report), None) => {
                let code = Code::parse(&report.failure.code).filter(|code| REFUSALS.contains(code))?;
                (&report.task.step, Some(code))
            }
            _ => return None,
        };
        let (place, principal) = ((stamp.seq, nth), entry.principal.clone());
        Some(Effect::Refused(Box::new(Self { run, place, principal, step: step.clone(), code })))
    }
}

/// A command with what its message needs to know about the run.
#[derive(Debug, Clone)]
pub struct Order {
    /// What its acknowledgement is reported with.
    pub token: Token,
    /// Whose command it is.
    pub run: RunId,
    /// The run's workflow.
    pub workflow: WorkflowVersion,
    /// Who caused the run.
    pub principal: Principal,
    /// The run's trace.
    pub traceparent: Option<String>,
    /// What to do.
    pub command: Command,
    /// What shows a worker that a withdrawal is ours.
    pub proof: Option<TaskToken>,
    /// The time of the entry that caused it.
    pub at: kapelle_types::Timestamp,
    /// Whether it may have been performed before: the run was read again, or looked at because it is overdue.
    pub again: bool,
}

/// What an order comes from: the entry, or sequence 0, and whether the same may have been performed before.
pub(crate) type Cause = (Stamp, bool);

impl Order {
    /// The order for a run's command that the entry at `cause` asked for; sequence 0 where none did. `again` goes
    /// with the cause.
    pub(crate) fn of(run: &Run, (cause, again): Cause, command: Command) -> Self {
        let proof = if let Command::WithdrawTask { task, .. } = &command { run.token(task) } else { None };
        Self {
            proof,
            token: Token(cause.seq),
            run: run.id(),
            workflow: run.plan().workflow.clone(),
            principal: run.submitted_by().cloned().unwrap_or_default(),
            traceparent: run.traceparent().map(str::to_owned),
            command,
            at: cause.at,
            again,
        }
    }
}

/// Ties a command to the entry that caused it: its sequence, or 0 where no entry did (the reconciler).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// One thing that was read from the partition.
#[derive(Debug)]
pub struct Item {
    /// Where it stands.
    pub seq: u64,
    /// Whose it is.
    pub run: RunId,
    /// What it says.
    pub content: Content,
}

/// What an item says.
#[derive(Debug)]
pub enum Content {
    /// A record that was understood.
    Record(Record),
    /// Garbage: named, counted, passed over.
    Garbage {
        /// The metric's label.
        reason: &'static str,
    },
    /// Written by a newer build.
    FromTheFuture {
        /// What was not understood.
        reason: String,
    },
}

/// The answer to [`Effect::Load`].
#[derive(Debug)]
pub enum Loaded {
    /// The run before its first entry, and its log, oldest first.
    Run {
        /// Of the plan and the key that the first entry names.
        run: Box<Run>,
        /// All records.
        records: Vec<Record>,
    },
    /// The log does not begin with RunSubmitted: it is no run.
    NotARun,
    /// The plan cannot be built now (a manifest is missing); ask again later.
    NoPlan {
        /// Why.
        reason: String,
    },
    /// Written by a newer build.
    FromTheFuture {
        /// What was not understood.
        reason: String,
    },
}

/// Where runs get what they are decided by, beside their log, without waiting.
pub trait Plans {
    /// The run that a submission begins, if the plan and the key that it names are at hand.
    fn at_hand(&self, id: RunId, submitted: &RunSubmitted) -> Option<Run>;
}

/// What the broker says about the task queue, and about the tasks that wait for their turn to be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TasksState {
    /// When the streams were created: another value is another, empty stream.
    pub created: [i64; 2],
    /// When the oldest task that is queued or running was queued; `None` if there is none.
    pub oldest: Option<kapelle_types::Timestamp>,
    /// The last sequence of the partition's log, asked for after the queue.
    pub log_end: u64,
}
