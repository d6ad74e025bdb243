//! Why an entry changed nothing. Every reason has a name that logs and metrics carry; none is an error.

use std::fmt;

/// The reason why [`crate::apply`] ignored an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ignored {
    /// It stands on the subject that it may not stand on: workers report, the control plane does the rest.
    WrongChannel,
    /// It was applied before: an older sequence, a request id seen already, a second submission.
    Duplicate,
    /// The run has no `RunSubmitted` yet, so it is no run.
    NotSubmitted,
    /// The outcome is decided.
    RunFinished,
    /// The run is closing: only its last steps count, and an end at once.
    RunClosing,
    /// The run was halted (too many entries, unusable plan): only its end is accepted.
    RunHalted,
    /// The finish mark is there already.
    AlreadyMarked,
    /// A finish mark on a run whose entries decide no outcome yet.
    NotDecided,
    /// A report without the token of its task: whoever wrote it was not given that task.
    BadToken,
    /// No such step or member in this run.
    UnknownStep,
    /// This attempt was never dispatched.
    UnknownAttempt,
    /// A failure of an attempt that is not the one waited for.
    StaleAttempt,
    /// The step or member has its outcome.
    AlreadyDecided,
    /// No timer of this name can exist in this run.
    UnknownTimer,
    /// The timer was for a state that has passed.
    StaleTimer,
    /// The timer went off before it was due; it is set again.
    TimerEarly,
    /// The workflow declares no such signal.
    UnknownSignal,
    /// The signal breaks the contract that the workflow declares for it.
    BadSignal,
    /// The run keeps as many signals that nobody waits for as it may.
    TooManySignals,
    /// The step waits for no decision.
    NotHeld,
    /// The decision is about something else than what the step would do now.
    StaleDigest,
    /// The decision came when it was denied already for want of one.
    ApprovalExpired,
    /// The decision is nobody's.
    NoPerson,
    /// Whoever decided is in none of the groups that are asked.
    NotInGroup,
    /// Whoever submitted the run agreed to what it would do.
    SelfApproval,
    /// The person has agreed already.
    SamePerson,
    /// Whoever takes back that they agreed has not.
    NotAgreed,
    /// What was edited is not what the step may be given.
    BadEdit,
    /// There is nothing to retry or to fail: the run is not STALLED.
    NotStalled,
    /// None of the named steps waits for a retry.
    NotGivenUp,
    /// The run is paused already.
    AlreadyPaused,
    /// The run is not paused.
    NotPaused,
}

impl Ignored {
    /// Every reason there is.
    pub const ALL: &'static [Self] = &[
        Self::WrongChannel,
        Self::Duplicate,
        Self::NotSubmitted,
        Self::RunFinished,
        Self::RunClosing,
        Self::RunHalted,
        Self::AlreadyMarked,
        Self::NotDecided,
        Self::BadToken,
        Self::UnknownStep,
        Self::UnknownAttempt,
        Self::StaleAttempt,
        Self::AlreadyDecided,
        Self::UnknownTimer,
        Self::StaleTimer,
        Self::TimerEarly,
        Self::UnknownSignal,
        Self::BadSignal,
        Self::TooManySignals,
        Self::NotHeld,
        Self::StaleDigest,
        Self::ApprovalExpired,
        Self::NoPerson,
        Self::NotInGroup,
        Self::SelfApproval,
        Self::SamePerson,
        Self::NotAgreed,
        Self::BadEdit,
        Self::NotStalled,
        Self::NotGivenUp,
        Self::AlreadyPaused,
        Self::NotPaused,
    ];

    /// Its stable name, for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongChannel => "wrong_channel",
            Self::Duplicate => "duplicate",
            Self::NotSubmitted => "not_submitted",
            Self::RunFinished => "run_finished",
            Self::RunClosing => "run_closing",
            Self::RunHalted => "run_halted",
            Self::AlreadyMarked => "already_marked",
            Self::NotDecided => "not_decided",
            Self::BadToken => "bad_token",
            Self::UnknownStep => "unknown_step",
            Self::UnknownAttempt => "unknown_attempt",
            Self::StaleAttempt => "stale_attempt",
            Self::AlreadyDecided => "already_decided",
            Self::UnknownTimer => "unknown_timer",
            Self::StaleTimer => "stale_timer",
            Self::TimerEarly => "timer_early",
            Self::UnknownSignal => "unknown_signal",
            Self::BadSignal => "bad_signal",
            Self::TooManySignals => "too_many_signals",
            Self::NotHeld => "not_held",
            Self::StaleDigest => "stale_digest",
            Self::ApprovalExpired => "approval_expired",
            Self::NoPerson => "no_person",
            Self::NotInGroup => "not_in_group",
            Self::SelfApproval => "self_approval",
            Self::SamePerson => "same_person",
            Self::NotAgreed => "not_agreed",
            Self::BadEdit => "bad_edit",
            Self::NotStalled => "not_stalled",
            Self::NotGivenUp => "not_given_up",
            Self::AlreadyPaused => "already_paused",
            Self::NotPaused => "not_paused",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
